"""What can be wrong with the triggers of a catalog: starts that never come, and data that nobody keeps.

`check.py` collects the faults. `withdrawn` and `compose` run on made-up states, which remember what they were asked.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import msgspec

from adapter.commands.develop.faults import Fault
from adapter.commands.develop.places import place_of, place_of_catalog
from adapter.sources import SOURCES
from freshgate.declare import EventType, Trigger
from freshgate.events import Product
from freshgate.settings import Settings
from freshgate.state.stamps import stamp
from freshgate.state.views import Mark, Order, OrderView, PersonView

# The planner keeps these of every event that tells them (freshgate/state/planner.py).
ALWAYS_KEPT = {"email", "id"}
AT = 1_790_000_000_000
PRODUCT = Product("p-1", name="Mug", price="9.90")
_json = msgspec.json.Encoder(decimal_format="string").encode


class AskedPerson(PersonView):
    """A person who remembers which traits and marks were asked for."""

    def __init__(self, raw: Mapping[bytes, bytes]) -> None:
        super().__init__("u" + "0" * 20, raw)
        self.traits: set[str] = set()
        self.marks: set[str] = set()

    def trait(self, name: str) -> str | None:
        self.traits.add(name)
        return super().trait(name)

    def mark(self, name: str) -> Mark | None:
        self.marks.add(name)
        return super().mark(name)


def faults(catalog: ModuleType, settings: Settings) -> Iterator[Fault]:
    """Every fault of `catalog.TRIGGERS`, and overrides of the settings that no trigger has."""
    package = catalog.__name__
    events: dict[str, EventType] = {event.name: event for event in catalog.EVENTS}
    names: set[str] = set()
    for trigger in catalog.TRIGGERS:
        if trigger.name in names:
            yield Fault(place_of(trigger, package), f"trigger {trigger.name!r} stands in TRIGGERS twice")
        names.add(trigger.name)
        yield from _of_starts(trigger, events, package)
        yield from _of_limits(trigger, catalog.TRIGGERS, events, package)
        yield from _of_data(trigger, catalog.TRIGGERS, events, package)
    for name in sorted(set(settings.triggers) - names if package == settings.catalog else ()):
        yield Fault(place_of_catalog(package), f"the settings override triggers.{name}, which no trigger is called")


def _of_starts(trigger: Trigger, events: Mapping[str, EventType], package: str) -> Iterator[Fault]:
    head = f"trigger {trigger.name}: "
    where = place_of(trigger, package, "on")
    for name in trigger.on:
        event = events.get(name)
        here = place_of(trigger, package, "on", name)
        if event is None:
            yield Fault(here, f"{head}starts on {name!r}, which no event type is called")
            continue
        if trigger.about not in event.marks and trigger.starts is None:
            yield Fault(here, f"{head}is about {trigger.about!r}, which {name!r} does not mark")
        if trigger.subject == "order" and event.order != "completed":
            yield Fault(here, f"{head}is an order's, but {name!r} completes none; an order's mails start on such only")
        for field in trigger.needs:
            if field not in event.fields:
                yield Fault(place_of(trigger, package, "needs"), f"{head}needs {field!r}, which {name!r} never has")
    said = [name for name in trigger.on if name in events and any(kind in SOURCES for kind in events[name].sources)]
    if not said and all(name in events for name in trigger.on):
        nothing = "`on` is empty" if not trigger.on else "no source can say any of " + ", ".join(trigger.on)
        yield Fault(where, f"{head}starts on nothing: {nothing}")


def _of_limits(
    trigger: Trigger, triggers: Sequence[Trigger], events: Mapping[str, EventType], package: str
) -> Iterator[Fault]:
    head = f"trigger {trigger.name}: "
    if trigger.max_age <= 0:
        yield Fault(place_of(trigger, package, "max_age"), f"{head}max_age must be more than 0")
    elif trigger.max_age < trigger.delay:
        where = place_of(trigger, package, "max_age")
        yield Fault(where, f"{head}max_age is shorter than its delay, so it could never send")
    if not trigger.template_id:
        yield Fault(place_of(trigger, package, "template_id"), f"{head}template_id is empty")
    if trigger.version is not None and trigger.version not in _marks(triggers, events):
        where = place_of(trigger, package, "version")
        yield Fault(where, f"{head}its version is {trigger.version!r}, which no event type marks")


def _of_data(
    trigger: Trigger, triggers: Sequence[Trigger], events: Mapping[str, EventType], package: str
) -> Iterator[Fault]:
    kept = ALWAYS_KEPT | {name for event in events.values() for name in event.profile}
    marks = _marks(triggers, events)
    asked: dict[tuple[str, str], str] = {}
    for told, traits in (("everything", kept), ("only the start", set())):
        for called in ("withdrawn", "compose"):
            person, order = _person(traits, marks if traits else {trigger.about}), _order(trigger)
            try:
                getattr(trigger, called)(person, order)
            except Exception as error:  # Whatever the catalog's own function does wrong.
                frame = traceback.extract_tb(error.__traceback__)[-1]
                fault = f"{called} fails where {told} is known: {type(error).__name__}: {error}"
                yield Fault(f"{_short(frame.filename)}:{frame.lineno}", f"trigger {trigger.name}: {fault}")
            asked |= {("trait", name): called for name in sorted(person.traits - kept)}
            asked |= {("mark", name): called for name in sorted(person.marks - marks)}
    for (what, name), called in asked.items():
        missing = "which no event type keeps in its `profile`" if what == "trait" else "which no event type marks"
        text = f"trigger {trigger.name}: {called} asks for the {what} {name!r}, {missing}"
        yield Fault(_asking(trigger, called, name, package), text)


def _marks(triggers: Sequence[Trigger], events: Mapping[str, EventType]) -> set[str]:
    marks = {mark for event in events.values() for mark in event.marks}
    marks |= {event.suppresses for event in events.values() if event.suppresses}
    # A trigger with a condition of its own sets its mark itself.
    return marks | {trigger.about for trigger in triggers if trigger.starts is not None}


def _person(traits: set[str], marks: set[str]) -> AskedPerson:
    values = {"order": _json([PRODUCT.product_id]), "view": _json(PRODUCT)}
    head = stamp(AT, "m-1").encode()
    raw = {f"m:{mark}".encode(): head + values.get(mark, b"") for mark in marks}
    raw |= {f"t:{name}".encode(): head + b"a value" for name in traits}
    if traits:
        raw[f"+{PRODUCT.line}".encode()] = stamp(AT, "m-2").encode() + _json(PRODUCT)
    return AskedPerson(raw)


def _order(trigger: Trigger) -> OrderView | None:
    if trigger.subject != "order":
        return None
    told = Order(order_id="1", person="u" + "0" * 20, total="9.90", currency="EUR", products=(PRODUCT,))
    return OrderView("o" + "0" * 20, {b"m:order": stamp(AT, "m-1").encode() + _json(told)})


def _asking(trigger: Trigger, called: str, name: str, package: str) -> str:
    """The line of the function that has the name in it; the trigger's own where it is built otherwise."""
    code = getattr(getattr(trigger, called), "__code__", None)
    if code is None:
        return place_of(trigger, package, called)
    try:
        lines = Path(code.co_filename).read_text(encoding="utf-8").splitlines()
    except OSError:
        return place_of(trigger, package, called)
    behind = range(code.co_firstlineno, len(lines) + 1)
    found = next((number for number in behind if f'"{name}"' in lines[number - 1]), code.co_firstlineno)
    return f"{_short(code.co_filename)}:{found}"


def _short(file: str) -> str:
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
