"""Finds faults of a catalog's triggers: events that never start them, and data that no event type keeps.

`check.py` collects the faults. `withdrawn` and `compose` run on sample persons, which record what they are asked for.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from adapter.commands.develop.faults import Fault
from adapter.commands.develop.places import place_of, place_of_catalog, short_path
from adapter.sources import SOURCES
from freshgate.declare import EventType, Trigger
from freshgate.events import Product
from freshgate.settings import Settings
from freshgate.state.stamps import stamp
from freshgate.state.views import Mark, Order, OrderView, PersonView

# The planner stores these traits of every event that has them (freshgate/state/planner.py).
ALWAYS_STORED = {"email", "id"}
OCCURRED_AT = 1_790_000_000_000
PRODUCT = Product("p-1", name="Mug", price="9.90")
_encode = msgspec.json.Encoder(decimal_format="string").encode


def _text(value: Any) -> str:
    return _encode(value).decode()


class RecordingPerson(PersonView):
    """A person that records which traits and marks were asked for."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        record_id = "u" + "0" * 20
        super().__init__(record_id, [(record_id, fields)])
        self.traits: set[str] = set()
        self.marks: set[str] = set()

    def trait(self, name: str) -> str | None:
        self.traits.add(name)
        return super().trait(name)

    def mark(self, name: str) -> Mark | None:
        self.marks.add(name)
        return super().mark(name)


def faults(catalog: ModuleType, settings: Settings) -> Iterator[Fault]:
    """All faults of `catalog.TRIGGERS`, and settings that override a trigger which does not exist."""
    package = catalog.__name__
    events: dict[str, EventType] = {event.name: event for event in catalog.EVENTS}
    names: set[str] = set()
    for trigger in catalog.TRIGGERS:
        if trigger.name in names:
            yield Fault(place_of(trigger, package), f"trigger {trigger.name!r} stands in TRIGGERS twice")
        names.add(trigger.name)
        yield from _start_faults(trigger, events, package)
        yield from _limit_faults(trigger, catalog.TRIGGERS, events, package)
        yield from _data_faults(trigger, catalog.TRIGGERS, events, package)
    for name in sorted(set(settings.triggers) - names if package == settings.catalog else ()):
        yield Fault(place_of_catalog(package), f"the settings override triggers.{name}, but there is no such trigger")


def _start_faults(trigger: Trigger, events: Mapping[str, EventType], package: str) -> Iterator[Fault]:
    head = f"trigger {trigger.name}: "
    for name in trigger.on:
        event = events.get(name)
        place = place_of(trigger, package, "on", name)
        if event is None:
            yield Fault(place, f"{head}starts on {name!r}, but there is no such event type")
            continue
        if trigger.about not in event.marks and trigger.starts is None:
            yield Fault(place, f"{head}is about {trigger.about!r}, which {name!r} does not mark")
        if trigger.subject == "order" and event.order != "completed":
            yield Fault(place, f"{head}has an order as its subject, but {name!r} does not complete an order")
        for field in trigger.needs:
            if field not in event.fields:
                yield Fault(place_of(trigger, package, "needs"), f"{head}needs {field!r}, which {name!r} never has")
    sent = [name for name in trigger.on if name in events and any(kind in SOURCES for kind in events[name].sources)]
    if not sent and all(name in events for name in trigger.on):
        reason = "`on` is empty" if not trigger.on else "no source can send " + " or ".join(trigger.on)
        yield Fault(place_of(trigger, package, "on"), f"{head}starts on nothing: {reason}")


def _limit_faults(
    trigger: Trigger, triggers: Sequence[Trigger], events: Mapping[str, EventType], package: str
) -> Iterator[Fault]:
    head = f"trigger {trigger.name}: "
    if trigger.max_age <= 0:
        yield Fault(place_of(trigger, package, "max_age"), f"{head}max_age must be more than 0")
    elif trigger.max_age < trigger.delay:
        place = place_of(trigger, package, "max_age")
        yield Fault(place, f"{head}max_age is shorter than its delay, so it could never send")
    if not trigger.template_id:
        yield Fault(place_of(trigger, package, "template_id"), f"{head}template_id is empty")
    if trigger.version is not None and trigger.version not in _marks(triggers, events):
        place = place_of(trigger, package, "version")
        yield Fault(place, f"{head}its version is {trigger.version!r}, which no event type marks")


def _data_faults(
    trigger: Trigger, triggers: Sequence[Trigger], events: Mapping[str, EventType], package: str
) -> Iterator[Fault]:
    traits = ALWAYS_STORED | {name for event in events.values() for name in event.profile}
    marks = _marks(triggers, events)
    # What is asked for and never there → the function that asks.
    missing: dict[tuple[str, str], str] = {}
    for case, known_traits, known_marks in (("everything", traits, marks), ("only the start", set(), {trigger.about})):
        for function in ("withdrawn", "compose"):
            person = _sample_person(known_traits, known_marks)
            try:
                getattr(trigger, function)(person, _sample_order(trigger))
            except Exception as error:  # Whatever the catalog's own function does wrong.
                frame = traceback.extract_tb(error.__traceback__)[-1]
                text = f"{function} fails where {case} is known: {type(error).__name__}: {error}"
                yield Fault(f"{short_path(frame.filename)}:{frame.lineno}", f"trigger {trigger.name}: {text}")
            missing |= {("trait", name): function for name in sorted(person.traits - traits)}
            missing |= {("mark", name): function for name in sorted(person.marks - marks)}
    for (what, name), function in missing.items():
        reason = "which no event type keeps in its `profile`" if what == "trait" else "which no event type marks"
        text = f"trigger {trigger.name}: {function} asks for the {what} {name!r}, {reason}"
        yield Fault(_place_in_function(trigger, function, name, package), text)


def _marks(triggers: Sequence[Trigger], events: Mapping[str, EventType]) -> set[str]:
    marks = {mark for event in events.values() for mark in event.marks}
    marks |= {event.suppresses for event in events.values() if event.suppresses}
    # A trigger with a condition of its own sets its mark itself.
    return marks | {trigger.about for trigger in triggers if trigger.starts is not None}


def _sample_person(traits: set[str], marks: set[str]) -> RecordingPerson:
    values = {"order": _text([PRODUCT.product_id]), "view": _text(PRODUCT)}
    head = stamp(OCCURRED_AT, "m-1")
    fields = {f"m:{mark}": head + values.get(mark, "") for mark in marks}
    fields |= {f"t:{name}": f"{head}a value" for name in traits}
    if traits:
        added = stamp(OCCURRED_AT, "m-2")
        fields |= {f"+{PRODUCT.line}": added + _text(PRODUCT), f"n:{PRODUCT.line}": f"{added}+1"}
    return RecordingPerson(fields)


def _sample_order(trigger: Trigger) -> OrderView | None:
    if trigger.subject != "order":
        return None
    order = Order(order_id="1", total="9.90", currency="EUR", products=(PRODUCT,))
    return OrderView("o" + "0" * 20, {"F:order": stamp(OCCURRED_AT, "m-1") + _text(order)})


def _place_in_function(trigger: Trigger, function: str, name: str, package: str) -> str:
    """The line of the function that has the name in it; the trigger's own if the function has no readable code."""
    code = getattr(getattr(trigger, function), "__code__", None)
    if code is None:
        return place_of(trigger, package, function)
    try:
        lines = Path(code.co_filename).read_text(encoding="utf-8").splitlines()
    except OSError:
        return place_of(trigger, package, function)
    numbers = range(code.co_firstlineno, len(lines) + 1)
    line = next((number for number in numbers if f'"{name}"' in lines[number - 1]), code.co_firstlineno)
    return f"{short_path(code.co_filename)}:{line}"
