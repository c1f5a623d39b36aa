"""Finds faults of what triggers need: fields that are never there, segments in no table.

`check_triggers.py` yields them; `samples.py` makes the states.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from msgspec.structs import fields, replace

from adapter.commands.develop.check_clock import impure_calls
from adapter.commands.develop.faults import Fault
from adapter.commands.develop.places import is_own, place_of, short_path
from freshgate.declare import EventType, Trigger
from freshgate.events import Product
from freshgate.needs import SEGMENT_KEY, Fallback, Segment
from freshgate.state.fields import ORDER_FIELDS

ALWAYS_STORED = ("email", "id")


def need_faults(trigger: Trigger, catalog: ModuleType, events: Mapping[str, EventType]) -> Iterator[Fault]:
    """Needs of the trigger, of its fallbacks and of their segments that can never be met."""
    package, head = catalog.__name__, f"trigger {trigger.name}: "
    place = place_of(trigger, package, "needs")
    listed: Sequence[Segment] = getattr(catalog, "SEGMENTS", ())
    needs = [*trigger.field_needs, *(need for fallback in trigger.fallbacks for need in fallback.needs)]
    segments = [fallback.segment for fallback in trigger.fallbacks if fallback.segment]
    segments += [need.field for need in needs if isinstance(need.field, Segment)]
    needs += [need for segment in segments for need in segment.needs]
    for need in needs:
        for field in (need.field, need.placeholder, *(need.ask.fields if need.ask else ())):
            is_asked = need.ask is not None and field == need.field
            if isinstance(field, str) and (text := _field_fault(field, trigger, events, is_asked=is_asked)):
                yield Fault(place, f"{head}needs {field!r}, {text}")
    for segment in dict.fromkeys(segment.name for segment in segments):
        # Of another catalog's trigger, that catalog lists the segment.
        if segment not in {known.name for known in listed} and is_own(trigger, package):
            yield Fault(place, f"{head}the segment {segment!r} stands in no table; add it to SEGMENTS")
    functions: list[tuple[str, Any]] = [(f"segment {segment.name}: value", segment.value) for segment in segments]
    functions += [(f"Ask {ask.name}: answer", ask.answer) for ask in trigger.asks if callable(ask.answer)]
    functions += [(f"{head}a fallback's compose", item.compose) for item in trigger.fallbacks if item.compose]
    for name, function in functions:
        for file, line, call in impure_calls(function):
            yield Fault(
                f"{short_path(file)}:{line}", f"{name} calls {call}; it may read only the state that it is handed"
            )


def fallback_variants(trigger: Trigger) -> Iterator[Trigger]:
    """The trigger as each of its fallbacks sends it, so that what checks a trigger checks them, too."""
    missing = {need.name: None for need in trigger.field_needs}
    for fallback in trigger.fallbacks:
        template = fallback.template or trigger.template
        yield replace(trigger, needs=(), template=template, compose=_composing(trigger, fallback, missing))


def _composing(trigger: Trigger, fallback: Fallback, missing: Mapping[str, None]) -> Any:
    def compose(person: Any, about: Any) -> Any:
        composed = (fallback.compose or trigger.compose)(person.with_answers(missing), about)
        return {**composed, SEGMENT_KEY: "a value"} if fallback.segment else composed

    return compose


def _field_fault(field: str, trigger: Trigger, events: Mapping[str, EventType], *, is_asked: bool = False) -> str:
    """Why nobody can ever tell the field; empty where somebody can. A source of truth may know what no event says."""
    head, _, rest = field.partition(".")
    families = _families(trigger, events)
    if head not in families:
        return _unknown(head, set(families), "which no event type marks")
    known, reason = families[head]
    return "" if rest in known or (is_asked and known) else _unknown(rest, known, reason)


def _families(trigger: Trigger, events: Mapping[str, EventType]) -> dict[str, tuple[set[str], str]]:
    """Head of a field's name → what may follow it ("" is the head alone), and why something else may not."""
    carried = {(mark, name) for event in events.values() for mark, names in event.carries.items() for name in names}
    marks = {trigger.about, *(mark for event in events.values() for mark in event.marks)}
    families: dict[str, tuple[set[str], str]] = {
        mark: ({"", *(name for carrier, name in carried if carrier == mark)}, f"which the mark {mark!r} does not carry")
        for mark in marks
    }
    if "view" in families:
        families["view"][0].update(("product", *(field.name for field in fields(Product))))
    is_order = trigger.subject == "order"
    subject = set(trigger.subject) if isinstance(trigger.subject, tuple) else set()
    about = {trigger.about, trigger.version, *trigger.marks}
    return families | {
        "profile": (
            {*ALWAYS_STORED, *(name for event in events.values() for name in event.profile)},
            "which no event type keeps in its `profile`",
        ),
        "session": (
            {"first_seen", *(name for event in events.values() for name in event.profile)},
            "which no event type keeps in its `profile`",
        ),
        "cart": ({"", "prices"}, "which a cart does not have"),
        "order": (
            {"", *ORDER_FIELDS} if is_order else set(),
            "which an order does not have" if is_order else 'which is of an order; write subject="order"',
        ),
        "subject": (
            subject | {name for mark, name in carried if subject and mark in about},
            "which no mark of its subject carries",
        ),
        "last_order": ({""}, "which has no parts"),
        "consent": ({""}, "which has no parts"),
    }


def _unknown(name: str, known: set[str], reason: str) -> str:
    near = difflib.get_close_matches(name, sorted(known), 1)
    return reason + (f"; is {near[0]!r} meant?" if near else "")
