"""The catalog's paths, compiled: where an element has what an event type reads.

`fields.py` reads by them; `dialect.py` compiles for elements as plain dicts, `segment/plans.py` for typed envelopes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from adapter.sources.reading.converters import CONVERTERS
from adapter.sources.reading.identity import order_id
from adapter.sources.reading.product_lines import LineRules, PageUrl
from adapter.sources.reading.product_lists import read_product, read_products
from adapter.sources.reading.sent_addresses import read_sent_address
from freshgate.declare import EventType, From, Path
from freshgate.errors import CatalogError

Converter = Callable[[Any], Any]
# Reads the products of a field: (value, field, names of what cannot be read, rules, the element)
LineReader = Callable[[Any, str, list[str], LineRules, Any], Any]
LINE_READERS: Mapping[str, LineReader] = {"product": read_product, "products": read_products}
FIELD_TYPES = (*CONVERTERS, *LINE_READERS)
# (canonical name, converter, whether it is an id, its keys in one object, best first)
Plain = tuple[str, Converter, bool, tuple[str, ...]]
# Reaches the object that holds a value in an element, and the value's key in it; None is the object itself.
Place = tuple[Callable[[Any], Any], str | None]
# Compiles how to reach an object: its path, where "" is the element, and the keys that paths name in it.
Reach = Callable[[str, tuple[str, ...]], Callable[[Any], Any]]


class Spelling(msgspec.Struct, frozen=True):
    """How one CDP spells one event type, compiled.

    main        reaches the object that holds most fields
    plain       the fields in it: (canonical name, converter, whether it is an id, keys, best first)
    others      all other fields: (canonical name, converter, whether it is an id, where it stands, best first)
    lines       those of products: (canonical name, reader, where it stands, best first)
    rules       what the event type does with its products
    is_refund   its amounts are what was given back
    emails      where the person's own address stands, best first
    by_address  whether an address without an id is enough: it is about the address, or about an order of it
    instead     the event type that it is instead where its fields say so
    shapes      the keys of the main object → `plain` with the keys that it has. The elements of one page, app or plugin
                have the same keys again and again
    names       the keys of another object → the same keys by their folded names
    """

    name: str
    main: Callable[[Any], Any]
    plain: tuple[Plain, ...]
    others: tuple[tuple[str, Converter, bool, tuple[Place, ...]], ...]
    lines: tuple[tuple[str, LineReader, tuple[Place, ...]], ...]
    rules: LineRules
    is_refund: bool
    emails: tuple[Place, ...]
    by_address: bool
    effect: str | None
    instead: tuple[str, Callable[[Mapping[str, Any]], bool]] | None
    read: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None
    shapes: dict[tuple[str, ...], tuple[Plain, ...]]
    names: dict[tuple[str, ...], Mapping[str, list[str]]]


def alternatives(path: Path) -> tuple[str, ...]:
    """The paths of which the first present wins."""
    return (path,) if isinstance(path, str) else path


def compile_spelling(
    kind: str, event: EventType, own_emails: tuple[str, ...], reach: Reach, page_url: PageUrl, junk: frozenset[str]
) -> Spelling:
    """The event type as that kind spells it. Raises CatalogError for a path without a field.

    own_emails  where the person's own address stands in every element, after what the event type says
    junk        the source's ids of nobody
    """
    spelling: From = event.sources[kind]
    for name in spelling.paths:
        if name not in event.fields:
            raise CatalogError(f"{event.name} from {kind}: the path of {name!r} has no field; declare it in `fields`")
    paths = {name: alternatives(path) for name, path in spelling.paths.items() if name != "email"}
    emails = tuple(dict.fromkeys(alternatives(spelling.paths.get("email", ())) + own_emails))
    steps = {path: path.rpartition(".")[::2] for options in (*paths.values(), emails) for path in options}
    objects: dict[str, tuple[str, ...]] = {}
    for container, key in steps.values():
        objects[container] = (*objects.get(container, ()), key)
    main_path = max(objects, key=lambda container: len(objects[container]), default="")

    def places(options: tuple[str, ...]) -> tuple[Place, ...]:
        return tuple(
            (reach(path, objects[path]), None)
            if path in objects and not container
            else (reach(container, objects[container]), key)
            for path in options
            for container, key in (steps[path],)
        )

    line_readers = {name: LINE_READERS[event.fields[name]] for name in paths if event.fields[name] in LINE_READERS}
    plain = {
        name: tuple(steps[path][1] for path in options)
        for name, options in paths.items()
        if name not in line_readers and all(steps[path][0] == main_path for path in options)
    }
    fields = {
        name: (name, _converter(name, event, junk), event.fields[name] == "id")
        for name in paths
        if name not in line_readers
    }
    return Spelling(
        name=event.name,
        main=reach(main_path, objects.get(main_path, ())),
        plain=tuple((*fields[name], keys) for name, keys in plain.items()),
        others=tuple((*fields[name], places(paths[name])) for name in fields if name not in plain),
        lines=tuple((name, reader, places(paths[name])) for name, reader in line_readers.items()),
        rules=LineRules(event.cart in ("add", "remove", "snapshot"), event.cart == "remove", page_url),
        is_refund=event.order == "refunded",
        emails=places(emails),
        by_address=bool(event.suppresses or event.lifts or event.order),
        effect=event.effect,
        instead=event.instead,
        read=spelling.read,
        shapes={},
        names={},
    )


def _converter(name: str, event: EventType, junk: frozenset[str]) -> Converter:
    if name == "order_id":
        return order_id(junk)
    # Other addresses than the person's own, such as the order's, have to be real ones, too.
    return read_sent_address if name.endswith("_email") else CONVERTERS[event.fields[name]]
