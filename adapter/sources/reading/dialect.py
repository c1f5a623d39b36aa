"""Elements as plain dicts: which event type of the catalog each is, and the values of its fields.

`fields.py` says what is done with values; Segment's elements are read from typed envelopes, in `segment/plans.py`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeVar

import msgspec

from adapter.sources.reading.fields import Values
from adapter.sources.reading.fields import read_values as read_declared
from adapter.sources.reading.names import fold
from adapter.sources.reading.paths import Spelling, alternatives, compile_spelling
from adapter.sources.reading.product_lists import read_product
from freshgate.declare import EventType, Path
from freshgate.errors import CatalogError
from freshgate.events import Event

Steps = tuple[str, ...]
# Where Tealium's data layer has the address of the page.
PAGE_URL = ("dom", "url")


class Dialect:
    """The event types of a catalog as one CDP spells them."""

    def __init__(
        self,
        kind: str,
        catalog: Sequence[EventType],
        own_emails: Path = (),
        event_name: str = "",
        junk: frozenset[str] = frozenset(),
    ) -> None:
        """Compiles the catalog. Raises CatalogError.

        own_emails  where the person's own address stands in every element, after what the event type says
        event_name  the path of a name that people choose: it may differ in case, spaces and underscores
        junk        the source's ids of nobody
        """
        # Every path that some `when` looks at, and for each set of them: their texts → the event type.
        self._places: list[Steps] = []
        self._tables: dict[tuple[int, ...], dict[tuple[str, ...], Spelling]] = {}
        self._junk = junk
        for event in catalog:
            if kind in event.sources:
                self._add(kind, event, alternatives(own_emails))
        # A `when` of more paths says more, so it is tried first.
        ordered = sorted(self._tables.items(), key=lambda table: -len(table[0]))
        shared = set.intersection(*(set(columns) for columns in self._tables)) if self._tables else set()
        # The path that each `when` looks at: its text leaves few tables to try. Without one, "" leaves all of them.
        first = min(shared, default=None)
        self._first = self._places[first] if first is not None else ()
        self._by_text: dict[str, list[tuple[tuple[Steps, ...], dict[tuple[str, ...], Spelling]]]] = {}
        for columns, table in ordered:
            places = tuple(self._places[column] for column in columns)
            for text in {texts[columns.index(first)] if first is not None else "" for texts in table}:
                self._by_text.setdefault(text, []).append((places, table))
        # Where the text of that path alone decides, before all others.
        self._direct = {
            text: tables[0][1][(text,)] for text, tables in self._by_text.items() if tables[0][0] == (self._first,)
        }
        self._name = self._places.index(steps_of(event_name)) if steps_of(event_name) in self._places else None
        self._folded = [(_pick(columns), self._fold_names(columns)) for columns, _ in ordered]

    def find(self, element: Mapping[str, Any]) -> Spelling | None:
        """Which event type the element is, or None."""
        text = _text(value_at(element, self._first))
        direct = self._direct.get(text)
        if direct is not None:
            return direct
        for columns, table in self._by_text.get(text, ()):
            spelling = table.get(tuple([_text(value_at(element, steps)) for steps in columns]))
            if spelling is not None:
                return spelling
        texts = [_text(value_at(element, steps)) for steps in self._places]
        if self._name is not None and texts[self._name]:
            texts[self._name] = fold(texts[self._name])
            for pick, names in self._folded:
                spelling = names.get(pick(texts))
                if spelling is not None:
                    return spelling
        return None

    def _add(self, kind: str, event: EventType, own_emails: tuple[str, ...]) -> None:
        when = event.sources[kind].when
        if not when:
            raise CatalogError(f"{event.name} from {kind}: `when` is empty, so every element would be one")
        compiled = compile_spelling(kind, event, own_emails, _reach, _page_url, self._junk)
        names = sorted(when)
        table = self._tables.setdefault(tuple(self._column(steps_of(name)) for name in names), {})
        for texts in itertools.product(*(alternatives(when[name]) for name in names)):
            if texts in table:
                raise CatalogError(f"{event.name} from {kind}: {texts} is {table[texts].name} already")
            table[texts] = compiled

    def _fold_names(self, columns: tuple[int, ...]) -> dict[tuple[str, ...], Spelling]:
        """The table with the event's name folded; a name that two event types would share belongs to neither."""
        if self._name not in columns:
            return {}
        at = columns.index(self._name)
        rows = [((*texts[:at], fold(texts[at]), *texts[at + 1 :]), row) for texts, row in self._tables[columns].items()]
        return only_unambiguous(rows)

    def _column(self, steps: Steps) -> int:
        if steps not in self._places:
            self._places.append(steps)
        return self._places.index(steps)


K = TypeVar("K")
S = TypeVar("S", bound=Spelling)


def only_unambiguous(rows: Iterable[tuple[K, S]]) -> dict[K, S]:
    """The rows as a dict, without the keys that several event types have."""
    names: dict[K, set[str]] = {}
    table: dict[K, S] = {}
    for key, spelling in rows:
        names.setdefault(key, set()).add(spelling.name)
        table[key] = spelling
    return {key: spelling for key, spelling in table.items() if len(names[key]) == 1}


def _reach(container: str, keys: tuple[str, ...]) -> Callable[[Any], Any]:
    if not container:
        return lambda element: element
    steps = steps_of(container)
    if len(steps) == 1:
        (step,) = steps
        return lambda element: element.get(step)
    return lambda element: value_at(element, steps)


def _page_url(element: Any) -> Any:
    return value_at(element, PAGE_URL)


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


def read_values(spelling: Spelling, element: Mapping[str, Any]) -> Values:
    """As `fields.read_values`, with what `spelling.read` adds."""
    values = read_declared(spelling, element)
    if spelling.read is not None:
        values[0].update(spelling.read(element))
    return values


def product_events(spelling: Spelling, event: Event, element: Mapping[str, Any]) -> Iterator[Event]:
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
        product = read_product(line, "product", faults, spelling.rules, element)
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
