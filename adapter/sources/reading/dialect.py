"""Elements as plain dicts, read by dotted paths: for CDPs whose elements share no envelope.

Such a source's file says what differs; Segment's elements go the faster way of typed envelopes in `segment/plans.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from adapter.sources.reading.converters import CONVERTERS, product
from adapter.sources.reading.identity import address
from freshgate.declare import EventType, From, Path
from freshgate.errors import CatalogError
from freshgate.events import Event, Verdict

Steps = tuple[str, ...]


class Spelling(msgspec.Struct, frozen=True, gc=False):
    """How one CDP spells one event type, compiled.

    fields  (canonical name, where it stands, best first, converter)
    emails  where the person's own address stands, best first
    """

    name: str
    fields: tuple[tuple[str, tuple[Steps, ...], Callable[[Any], Any]], ...]
    emails: tuple[Steps, ...]
    suppresses: bool
    effect: str | None
    read: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None


def alternatives(path: Path) -> tuple[str, ...]:
    """The paths of which the first present wins."""
    return (path,) if isinstance(path, str) else path


class Dialect:
    """The event types of a catalog as one CDP spells them."""

    def __init__(self, kind: str, catalog: Sequence[EventType], emails: Path = ()) -> None:
        """`emails`: where the person's own address stands in every element, after what the event type says."""
        # Every path that some `when` looks at, and for each set of them: their texts → the event type.
        self._places: list[Steps] = []
        self._tables: dict[tuple[int, ...], dict[tuple[str, ...], Spelling]] = {}
        for event in catalog:
            if kind in event.sources:
                self._add(kind, event, event.sources[kind], alternatives(emails))
        # The most telling first.
        ordered = sorted(self._tables.items(), key=lambda table: -len(table[0]))
        self._ordered = [(_pick(columns), table) for columns, table in ordered]

    def find(self, element: Mapping[str, Any]) -> Spelling | None:
        """Which event type the element is, or None."""
        texts = [_text(value_at(element, steps)) for steps in self._places]
        for pick, table in self._ordered:
            found = table.get(pick(texts))
            if found is not None:
                return found
        return None

    def _add(self, kind: str, event: EventType, spelling: From, emails: Steps) -> None:
        if not spelling.when:
            raise CatalogError(f"{event.name} from {kind}: `when` is empty, so every element would be one")
        compiled = _compiled(kind, event, spelling, emails)
        names = sorted(spelling.when)
        table = self._tables.setdefault(tuple(self._column(steps_of(name)) for name in names), {})
        for values in itertools.product(*(alternatives(spelling.when[name]) for name in names)):
            if values in table:
                raise CatalogError(f"{event.name} from {kind}: {values} is {table[values].name} already")
            table[values] = compiled

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


def _compiled(kind: str, event: EventType, spelling: From, emails: Steps) -> Spelling:
    for name in spelling.paths:
        if name not in event.fields:
            raise CatalogError(f"{event.name} from {kind}: the path of {name!r} has no field; declare it in `fields`")
    own = dict.fromkeys(alternatives(spelling.paths.get("email", ())) + emails)
    return Spelling(
        name=event.name,
        fields=tuple(
            # Of other people's addresses (the order's own) too, only real ones get further.
            (name, _places(path), address if name.endswith("_email") else CONVERTERS[event.fields[name]])
            for name, path in spelling.paths.items()
            if name != "email"
        ),
        emails=_places(tuple(own)),
        suppresses=event.suppresses is not None,
        effect=event.effect,
        read=spelling.read,
    )


def steps_of(path: str) -> Steps:
    """A dotted path, taken apart."""
    return tuple(path.split("."))


def _places(path: Path) -> tuple[Steps, ...]:
    return tuple(steps_of(option) for option in alternatives(path))


def _text(value: Any) -> str:
    return value if type(value) is str else ""


def value_at(element: Any, steps: Steps) -> Any:
    """What stands there, or None."""
    for step in steps:
        if type(element) is not dict:
            return None
        element = element.get(step)
    return element


def first_of(element: Mapping[str, Any], places: tuple[Steps, ...]) -> Any:
    """The first value present; null and the empty text count as absent."""
    for steps in places:
        value = value_at(element, steps)
        if value is not None and value != "":
            return value
    return None


def read_fields(spelling: Spelling, element: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The declared fields that are present and readable, and the names of those that are present and not."""
    fields: dict[str, Any] = {}
    unreadable: list[str] = []
    for name, places, convert in spelling.fields:
        value = first_of(element, places)
        if value is not None:
            value = convert(value)
            if value is None:
                unreadable.append(name)
            else:
                fields[name] = value
    if spelling.read is not None:
        fields.update(spelling.read(element))
    return fields, unreadable


def own_address(spelling: Spelling, element: Mapping[str, Any]) -> tuple[str | None, bool]:
    """The person's own address, or None; and whether there was something in its place that is none."""
    garbled = False
    for steps in spelling.emails:
        value = first_of(element, (steps,))
        if value is not None:
            email = address(value)
            if email is not None:
                return email, False
            garbled = True
    return None, garbled


def extra_product_events(event: Verdict, lines: Any) -> Iterator[Event]:
    """The other products of an event that has room for one: a cart that keeps one of them would be written about."""
    if isinstance(event, Event) and type(lines) is list and "product" in {*event.fields, *event.unreadable}:
        for index, line in enumerate(map(product, lines[1:]), 1):
            if line is not None:
                fields = {**event.fields, "product": line}
                yield msgspec.structs.replace(event, message_id=f"{event.message_id}#{index}", fields=fields)
