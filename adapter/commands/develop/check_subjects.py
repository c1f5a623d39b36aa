"""Finds faults of triggers whose subject is a field, and of the marks that carry fields.

`check_triggers.py` and `check_events.py` yield them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from adapter.commands.develop.faults import Fault
from adapter.commands.develop.places import place_of
from freshgate.declare import EventType, Trigger

# Marks whose content has a meaning of its own: which products were bought, which one was viewed.
OWN_CONTENT = ("order", "view")


def subject_faults(trigger: Trigger, events: Mapping[str, EventType], package: str) -> Iterator[Fault]:
    """A subject that no starting event has, and marks that nothing moves forward for it."""
    head, place = f"trigger {trigger.name}: ", place_of(trigger, package, "subject")
    if not isinstance(trigger.subject, tuple):
        if trigger.marks:
            text = f'{head}`marks` are for a subject of fields, such as subject=("product_id",)'
            yield Fault(place_of(trigger, package, "marks"), text)
        return
    if not trigger.subject:
        yield Fault(place, f'{head}its subject names no field; write one, such as ("product_id",), or "person"')
    starting = [events[name] for name in trigger.on if name in events]
    for field in trigger.subject:
        for event in starting:
            if field not in event.fields:
                near = difflib.get_close_matches(field, event.fields, 1)
                meant = f"; is {near[0]!r} meant?" if near else "; declare it there, or name another"
                yield Fault(place, f"{head}its subject is {field!r}, which {event.name!r} never has{meant}")
            elif event.fields[field] == "products":
                yield Fault(
                    place, f"{head}its subject is {field!r}, a list of products; name a field that holds one value"
                )
    with_subject = [event for event in events.values() if all(field in event.fields for field in trigger.subject)]
    known = {mark for event in with_subject for mark in event.marks}
    wanted = {"version": (trigger.version,) if trigger.version else (), "marks": trigger.marks}
    for name, marks in wanted.items():
        for mark in marks:
            if mark not in known and not (mark == trigger.about and trigger.starts is not None):
                where = place_of(trigger, package, name, mark)
                fields = " and ".join(trigger.subject)
                yield Fault(where, f"{head}{name} has {mark!r}, which no event type with {fields} marks")


def carried_faults(event: EventType, package: str) -> Iterator[Fault]:
    """Fields that a mark cannot carry."""
    for mark, fields in event.carries.items():
        where = place_of(event, package, "carries", mark)
        if mark not in event.marks:
            yield Fault(where, f"{event.name}: carries has {mark!r}, which is not in its `marks`")
        if mark in OWN_CONTENT:
            yield Fault(
                where, f"{event.name}: the mark {mark!r} carries products already; carry fields with another mark"
            )
        for field in fields:
            if field not in event.fields:
                yield Fault(where, f"{event.name}: {mark!r} carries {field!r}, which is not a field")
            elif event.fields[field] == "products":
                yield Fault(where, f"{event.name}: {mark!r} carries {field!r}, a list of products; carry one value")
