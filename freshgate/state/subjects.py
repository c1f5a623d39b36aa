"""Subjects that are values of an event's fields, such as one product: their keys, their registers and their view. Pure.

`planner.py` writes the registers, `subjects.lua` bounds them, `views.py` reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from freshgate.declare import EventType, Trigger
from freshgate.events import Event, Product
from freshgate.state.plans import Register
from freshgate.state.records import Mark, without
from freshgate.state.stored import to_json

# What a page said stands behind this sign; transactional mail leaves it out.
FROM_PAGE = "?"


class SubjectView:
    """What is known of one subject of a person, as one trip to Redis saw it. Times in milliseconds.

    key      hash of the subject's fields and their values
    marks    the newest of each mark about this subject
    answers  field ("subject.price") → what stands in its place, or None: see `PersonView.with_answers`
    """

    def __init__(self, key: str, marks: Mapping[str, Mark], answers: Mapping[str, Any]) -> None:
        self.key = key
        self.marks = marks
        self._answers = {name[8:]: value for name, value in answers.items() if name.startswith("subject.")}

    def mark(self, name: str) -> Mark | None:
        """The newest time that this happened with the subject; `Mark.fields` has what the event said then."""
        mark = self.marks.get(name)
        return without(mark, self._answers) if mark else None

    @property
    def fields(self) -> Mapping[str, Any]:
        """The subject's own fields and those that its marks carry, each as the newest mark has it."""
        fields: dict[str, Any] = {}
        for mark in sorted(self.marks.values(), key=lambda mark: mark.stamp):
            fields |= mark.fields
        fields |= self._answers
        return {name: value for name, value in fields.items() if value is not None}


class SubjectIndex:
    """Which marks of which event types are remembered for each subject: those that a trigger of a catalog asks for."""

    def __init__(self, events: Iterable[EventType], triggers: Sequence[Trigger]) -> None:
        by_fields = [trigger for trigger in triggers if isinstance(trigger.subject, tuple)]
        self._timed: dict[str, tuple[str, ...]] = {}
        for trigger in by_fields:
            self._timed[trigger.about] = (*self._timed.get(trigger.about, ()), trigger.name)
        # event type → (the subject's fields, the marks that are remembered for it)
        self._marks: dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
        for event_type in events:
            wanted: dict[tuple[str, ...], list[str]] = {}
            for trigger in by_fields:
                fields = tuple(trigger.subject)
                if all(field in event_type.fields for field in fields):
                    asked = (trigger.about, trigger.version, *trigger.marks)
                    wanted.setdefault(fields, []).extend(mark for mark in event_type.marks if mark in asked)
            self._marks[event_type.name] = [(fields, tuple(dict.fromkeys(marks))) for fields, marks in wanted.items()]

    def registers(self, event: Event, event_type: EventType, at: str, *, trusted: bool) -> Iterator[Register]:
        """One register a mark and subject of the event."""
        for fields, marks in self._marks[event.name]:
            values = subject_values(event, fields)
            if values is None:
                continue
            for mark in marks:
                yield subject_register(mark, values, carried(event, event_type, mark), at, trusted=trusted)

    def bounds(self, registers: Iterable[Register]) -> list[list[str]]:
        """For `subjects.lua`: how the fields of a mark begin, and the triggers whose timers are about it."""
        heads = {field[: field.index("#") + 1] for field, _, _ in registers if field[:2] == "s:"}
        return [[head, *self._timed.get(head[2:-1], ())] for head in sorted(heads)]


def subject_values(event: Event, fields: Sequence[str]) -> dict[str, Any] | None:
    """The values that make the subject; None where the event lacks one. A product counts by its id."""
    values: dict[str, Any] = {}
    for field in fields:
        value = event.fields.get(field)
        value = value.product_id if isinstance(value, Product) else value
        if value in (None, ""):
            return None
        values[field] = value
    return values


def subject_key(values: Mapping[str, Any]) -> str:
    """16 hex digits for the fields and their values: no value stands in a timer or in a field's name."""
    return blake2b(to_json(sorted(values.items())).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def subject_register(
    mark: str, values: Mapping[str, Any], fields: Mapping[str, Any], at: str, *, trusted: bool
) -> Register:
    return f"s:{mark}#{subject_key(values)}", at, mark_value({**values, **fields}, trusted=trusted)


def carried(event: Event, event_type: EventType, mark: str) -> dict[str, Any]:
    """The fields of the event that the mark carries along."""
    return {name: event.fields[name] for name in event_type.carries.get(mark, ()) if name in event.fields}


def describe(value: Any) -> str | int | float:
    """A field's value as the trail shows it: a product by its id."""
    if isinstance(value, Product):
        return value.product_id
    return value if isinstance(value, str | int | float) else str(value)


def mark_value(fields: Mapping[str, Any], *, trusted: bool) -> str:
    if not fields:
        return ""
    return to_json(dict(fields)) if trusted else FROM_PAGE + to_json(dict(fields))
