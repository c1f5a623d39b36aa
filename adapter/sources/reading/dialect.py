"""Elements as plain dicts: which event type of the catalog each is, and the values of its fields.

`paths.py` says what is done with values; Segment's elements are read from typed envelopes, in `segment/plans.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from adapter.sources.reading.converters import product
from adapter.sources.reading.paths import Spelling, Values, add_fields, alternatives, choose_email, compile_spelling
from freshgate.declare import EventType, Path
from freshgate.errors import CatalogError
from freshgate.events import Event, Verdict

Steps = tuple[str, ...]


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
    """The declared fields that are present and readable, the person's own address, and the names of what is not."""
    fields: dict[str, Any] = {}
    unreadable: list[str] = []
    add_fields(fields, unreadable, spelling.fields, element, first_present)
    if spelling.read is not None:
        fields.update(spelling.read(element))
    email = choose_email(unreadable, spelling.emails, element, first_present)
    return fields, email, unreadable


def extra_product_events(event: Verdict, lines: Any) -> Iterator[Event]:
    """One event more for each further product, of an event type with room for one: a cart must have all of them."""
    if isinstance(event, Event) and type(lines) is list and "product" in {*event.fields, *event.unreadable}:
        for index, line in enumerate(map(product, lines[1:]), 1):
            if line is not None:
                fields = {**event.fields, "product": line}
                yield msgspec.structs.replace(event, message_id=f"{event.message_id}#{index}", fields=fields)
