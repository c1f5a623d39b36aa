"""Elements as plain dicts: which event type of the catalog each is, and the values of its fields.

`paths.py` says what is done with values; Segment's elements are read from typed envelopes, in `segment/plans.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from adapter.sources.reading.paths import (
    Spelling,
    Values,
    add_fields,
    add_lines,
    alternatives,
    choose_email,
    compile_spelling,
    correct_refund,
)
from adapter.sources.reading.product_lists import read_product
from freshgate.declare import EventType, Path
from freshgate.errors import CatalogError
from freshgate.events import Event

Steps = tuple[str, ...]
# Where Tealium's data layer has the address of the page.
PAGE_URL = ("dom", "url")


class Dialect:
    """The event types of a catalog as one CDP spells them."""

    def __init__(self, kind: str, catalog: Sequence[EventType], own_emails: Path = ()) -> None:
        """`own_emails`: where the person's own address stands in every element, after what the event type says."""
        # Every path that some `when` looks at, and for each set of them: their texts → the event type.
        self._places: list[Steps] = []
        self._tables: dict[tuple[int, ...], dict[tuple[str, ...], Spelling[Steps]]] = {}
        for event in catalog:
            if kind in event.sources:
                self._add(kind, event, alternatives(own_emails))
        # A `when` of more paths says more, so it is tried first.
        ordered = sorted(self._tables.items(), key=lambda table: -len(table[0]))
        self._ordered = [(_pick(columns), table) for columns, table in ordered]

    def find(self, element: Mapping[str, Any]) -> Spelling[Steps] | None:
        """Which event type the element is, or None."""
        texts = [_text(value_at(element, steps)) for steps in self._places]
        for pick, table in self._ordered:
            spelling = table.get(pick(texts))
            if spelling is not None:
                return spelling
        return None

    def _add(self, kind: str, event: EventType, own_emails: tuple[str, ...]) -> None:
        when = event.sources[kind].when
        if not when:
            raise CatalogError(f"{event.name} from {kind}: `when` is empty, so every element would be one")
        compiled = compile_spelling(kind, event, own_emails, steps_of)
        names = sorted(when)
        table = self._tables.setdefault(tuple(self._column(steps_of(name)) for name in names), {})
        for texts in itertools.product(*(alternatives(when[name]) for name in names)):
            if texts in table:
                raise CatalogError(f"{event.name} from {kind}: {texts} is {table[texts].name} already")
            table[texts] = compiled

    def _column(self, steps: Steps) -> int:
        if steps not in self._places:
            self._places.append(steps)
        return self._places.index(steps)


def _pick(columns: tuple[int, ...]) -> Callable[[list[str]], tuple[str, ...]]:
    if len(columns) > 1:
        return itemgetter(*columns)
    # Of one column, itemgetter makes no tuple.
    (column,) = columns
    return lambda texts: (texts[column],)


def _text(value: Any) -> str:
    return value if type(value) is str else ""


def steps_of(path: str) -> Steps:
    """The names of a dotted path."""
    return tuple(path.split("."))


def value_at(element: Any, steps: Steps) -> Any:
    """The value at that path, or None."""
    for step in steps:
        if type(element) is not dict:
            return None
        element = element.get(step)
    return element


def first_present(element: Mapping[str, Any], places: tuple[Steps, ...]) -> Any:
    """The first value present; null and the empty text count as absent."""
    for steps in places:
        value = value_at(element, steps)
        if value is not None and value != "":
            return value
    return None


def read_values(spelling: Spelling[Steps], element: Mapping[str, Any]) -> Values:
    """The declared fields that are present and readable, the person's own address, and the names of what is not
    readable, or doubtful."""
    fields: dict[str, Any] = {}
    unreadable: list[str] = []
    doubtful: list[str] = []
    add_fields(fields, unreadable, spelling.fields, element, first_present)
    if spelling.lines:
        add_lines(fields, unreadable, spelling, element, first_present, lambda: value_at(element, PAGE_URL))
    if spelling.is_refund:
        correct_refund(fields)
    if spelling.read is not None:
        fields.update(spelling.read(element))
    email = choose_email(unreadable, doubtful, spelling.emails, element, first_present)
    return fields, email, unreadable, doubtful


def product_events(spelling: Spelling[Steps], event: Event, element: Mapping[str, Any]) -> Iterator[Event]:
    """The event, and one more for each further product where its type has room for one: a cart must have all of them.

    The first names the lines that were dropped.
    """
    lines = element.get("products")
    if type(lines) is not list or len(lines) < 2 or "product" not in {*event.fields, *event.unreadable}:
        yield event
        return
    # What is not of its one product.
    shared = [name for name in event.unreadable if name.partition(".")[0] != "product"]
    dropped = []
    extra = []
    for index, line in enumerate(lines[1:], 1):
        faults: list[str] = []
        product = read_product(line, "product", faults, spelling.rules, lambda: value_at(element, PAGE_URL))
        if product is None:
            dropped.append(f"products.{index}")
            continue
        extra.append(
            msgspec.structs.replace(
                event,
                message_id=f"{event.message_id}#{index}",
                fields={**event.fields, "product": product},
                unreadable=(*shared, *faults),
            )
        )
    yield msgspec.structs.replace(event, unreadable=(*event.unreadable, *dropped)) if dropped else event
    yield from extra
