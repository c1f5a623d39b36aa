"""Made-up persons, orders and events on which a trigger's functions are run, from full to nearly empty.

`check_functions.py` uses them. The persons record which traits and marks they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from freshgate.declare import EventType, FieldType, Trigger
from freshgate.events import Event, Product
from freshgate.state.stamps import stamp
from freshgate.state.stored import encode_order, encode_product
from freshgate.state.subjects import SubjectView, mark_value, subject_key
from freshgate.state.views import Mark, Order, OrderView, PersonView

OCCURRED_AT = 1_790_000_000_000
PRODUCT = Product("p-1", name="Mug", price="9.90", url="https://shop.example/mug", image_url="https://shop.example/i")
BARE_PRODUCT = Product("p-1")
# Cases, as faults name them.
EVERYTHING, BARE, START = "everything is known", "products have an id alone", "only the start is known"
VALUES: Mapping[FieldType, Any] = {
    "id": "1",
    "text": "a value",
    "money": Decimal("9.90"),
    "number": 1,
    "time": OCCURRED_AT,
    "flag": True,
    "product": PRODUCT,
    "products": (PRODUCT,),
}
_encode = msgspec.json.Encoder(decimal_format="string").encode


class RecordingPerson(PersonView):
    """A person that records which traits and marks were asked for."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        record_id = "u" + "0" * 14
        super().__init__(record_id, [(record_id, fields)])
        self.traits: set[str] = set()
        self.marks: set[str] = set()

    def trait(self, name: str) -> str | None:
        self.traits.add(name)
        return super().trait(name)

    def mark(self, name: str) -> Mark | None:
        self.marks.add(name)
        return super().mark(name)


def sample_states(traits: set[str], marks: set[str], about: str) -> Iterator[tuple[str, RecordingPerson]]:
    """(case, person) of each state that a trigger must cope with. `about` is the mark that started it."""
    yield EVERYTHING, _person(traits, marks, PRODUCT)
    yield BARE, _person(traits, marks, BARE_PRODUCT)
    yield START, _person(set(), {about}, None)


class RecordingSubject(SubjectView):
    """A subject that records which marks were asked for."""

    asked: set[str] = set()

    def mark(self, name: str) -> Mark | None:
        self.asked = {*self.asked, name}
        return super().mark(name)


def sample_subject(trigger: Trigger, case: str, events: Mapping[str, EventType]) -> RecordingSubject:
    """What is known of the subject in that case, of a trigger whose subject is fields."""
    fields = tuple(trigger.subject)
    known = [event for event in events.values() if all(field in event.fields for field in fields)]
    values = {field: _subject_value(known[0].fields[field]) if known else "1" for field in fields}
    marks = {}
    for name in dict.fromkeys((trigger.about, *((trigger.version or trigger.about), *trigger.marks))):
        if case == START and name != trigger.about:
            continue
        carrying = {
            field: BARE_PRODUCT
            if event.fields[field] == "product" and case != EVERYTHING
            else VALUES[event.fields[field]]
            for event in known
            for field in event.carries.get(name, ())
            if case != START and event.fields.get(field) in VALUES
        }
        marks[name] = Mark(stamp(OCCURRED_AT, "m-1"), OCCURRED_AT, mark_value({**values, **carrying}, trusted=True))
    return RecordingSubject(subject_key(values), marks, answers={})


def _subject_value(field_type: FieldType) -> Any:
    return PRODUCT.product_id if field_type == "product" else VALUES[field_type]


def sample_about(trigger: Trigger, case: str, events: Mapping[str, EventType]) -> RecordingSubject | OrderView | None:
    """What the mail is about besides the person in that case; None for a trigger whose subject is the person."""
    if isinstance(trigger.subject, tuple):
        return sample_subject(trigger, case, events)
    return sample_order(case) if trigger.subject == "order" else None


def sample_order(case: str) -> OrderView:
    order = Order(order_id="1")
    if case != START:
        line = PRODUCT if case == EVERYTHING else BARE_PRODUCT
        order = msgspec.structs.replace(order, total="9.90", currency="EUR", products=(line,))
    return OrderView("o" + "0" * 14, {"F:order": stamp(OCCURRED_AT, "m-1") + encode_order(order)})


def sample_events(event: EventType) -> Iterator[tuple[str, Event]]:
    """(case, event) with all fields of the event type, and with none."""
    for case, fields in (
        (f"{event.name} has all fields", {name: VALUES[kind] for name, kind in event.fields.items() if kind in VALUES}),
        (f"{event.name} has no field", {}),
    ):
        yield (
            case,
            Event(
                source="check",
                id_space="main",
                name=event.name,
                message_id="m-1",
                occurred_at=OCCURRED_AT,
                received_at=OCCURRED_AT,
                user_id="u-1",
                email="ada@example.com" if fields else None,
                fields=fields,
            ),
        )


def _person(traits: set[str], marks: set[str], product: Product | None) -> RecordingPerson:
    head = stamp(OCCURRED_AT, "m-1")
    values = {"order": _text([product.product_id]), "view": _text(product)} if product else {}
    fields = {f"m:{mark}": head + values.get(mark, "") for mark in marks}
    fields |= {f"t:{name}": f"{head}a value" for name in traits}
    if product:
        added = stamp(OCCURRED_AT, "m-2")
        fields |= {f"+{product.line}": added + encode_product(product), f"n:{product.line}": f"{added}+1"}
    return RecordingPerson(fields)


def _text(value: Any) -> str:
    return _encode(value).decode()
