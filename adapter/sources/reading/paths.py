"""The one reader of the catalog's paths: what it does with values, wherever they stand in a decoded element.

`dialect.py` reads elements as plain dicts; `segment/plans.py` reads typed envelopes, and gives the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec

from adapter.sources.reading.converters import CONVERTERS
from adapter.sources.reading.product_lines import LineRules, PageUrl
from adapter.sources.reading.product_lists import read_product, read_products
from freshgate.addresses import is_lookalike, read_address
from freshgate.declare import EventType, From, Path
from freshgate.errors import CatalogError

# A compiled path.
P = TypeVar("P")
Converter = Callable[[Any], Any]
# (canonical name, where it stands, best first, converter)
Field = tuple[str, tuple[P, ...], Converter]
# Reads the products of a field: (value, field, names of what cannot be read, rules, the page's URL)
LineReader = Callable[[Any, str, list[str], LineRules, PageUrl], Any]
# (fields, the person's own address, names of what is present and cannot be read, names of what is doubtful)
Values = tuple[dict[str, Any], str | None, list[str], list[str]]
LINE_READERS: Mapping[str, LineReader] = {"product": read_product, "products": read_products}
FIELD_TYPES = (*CONVERTERS, *LINE_READERS)


class Spelling(msgspec.Struct, Generic[P], frozen=True, gc=False):
    """How one CDP spells one event type, compiled.

    fields     those with a path: (canonical name, where it stands, best first, converter)
    lines      those of products: (canonical name, where it stands, best first, reader)
    rules      what the event type does with its products
    is_refund  its amounts are what was given back
    emails     where the person's own address stands, best first
    """

    name: str
    fields: tuple[tuple[str, tuple[P, ...], Converter], ...]
    lines: tuple[tuple[str, tuple[P, ...], LineReader], ...]
    rules: LineRules
    is_refund: bool
    emails: tuple[P, ...]
    suppresses: bool
    effect: str | None
    read: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None


def alternatives(path: Path) -> tuple[str, ...]:
    """The paths of which the first present wins."""
    return (path,) if isinstance(path, str) else path


def compile_spelling(
    kind: str, event: EventType, own_emails: tuple[str, ...], compile_path: Callable[[str], P]
) -> Spelling[P]:
    """The event type as that kind spells it. Raises CatalogError for a path without a field.

    own_emails  where the person's own address stands in every element, after what the event type says
    """
    spelling: From = event.sources[kind]
    for name in spelling.paths:
        if name not in event.fields:
            raise CatalogError(f"{event.name} from {kind}: the path of {name!r} has no field; declare it in `fields`")
    emails = dict.fromkeys(alternatives(spelling.paths.get("email", ())) + own_emails)
    return Spelling(
        name=event.name,
        fields=tuple(
            # Other addresses than the person's own, such as the order's, have to be real ones, too.
            (
                name,
                tuple(compile_path(option) for option in alternatives(path)),
                read_address if name.endswith("_email") else CONVERTERS[event.fields[name]],
            )
            for name, path in spelling.paths.items()
            if name != "email" and event.fields[name] not in LINE_READERS
        ),
        lines=tuple(
            (name, tuple(compile_path(option) for option in alternatives(path)), LINE_READERS[event.fields[name]])
            for name, path in spelling.paths.items()
            if name != "email" and event.fields[name] in LINE_READERS
        ),
        rules=LineRules(needs_id=event.cart in ("add", "remove", "snapshot"), removes=event.cart == "remove"),
        is_refund=event.order == "refunded",
        emails=tuple(compile_path(option) for option in emails),
        suppresses=event.suppresses is not None,
        effect=event.effect,
        read=spelling.read,
    )


def add_fields(
    fields: dict[str, Any],
    unreadable: list[str],
    declared: tuple[Field[P], ...],
    element: Any,
    first_present: Callable[[Any, tuple[P, ...]], Any],
) -> None:
    """Adds what is present of the declared fields to `fields`; the names of what cannot be read to `unreadable`."""
    for name, places, convert in declared:
        value = first_present(element, places)
        if value is not None:
            value = convert(value)
            if value is None:
                unreadable.append(name)
            else:
                fields[name] = value


def add_lines(
    fields: dict[str, Any],
    unreadable: list[str],
    spelling: Spelling[P],
    element: Any,
    first_present: Callable[[Any, tuple[P, ...]], Any],
    page_url: PageUrl,
) -> None:
    """Adds the products to `fields`; the names of what cannot be read of them to `unreadable`."""
    for name, places, read in spelling.lines:
        value = first_present(element, places)
        if value is not None:
            value = read(value, name, unreadable, spelling.rules, page_url)
            if value is not None:
                fields[name] = value


def correct_refund(fields: dict[str, Any]) -> None:
    """Amounts given back are positive, whichever sign they were sent with; 0 is what CDPs fill in for none."""
    for name, amount in list(fields.items()):
        if type(amount) is Decimal:
            if amount:
                fields[name] = abs(amount)
            else:
                del fields[name]


def choose_email(
    unreadable: list[str],
    doubtful: list[str],
    places: tuple[P, ...],
    element: Any,
    first_present: Callable[[Any, tuple[P, ...]], Any],
) -> str | None:
    """The person's own address: the first real one.

    Adds "email" to `unreadable` where only others are present, and to `doubtful` where it looks like another.
    """
    is_present = False
    for place in places:
        value = first_present(element, (place,))
        if value is not None:
            email = read_address(value)
            if email is not None:
                if email is not value and is_lookalike(value):
                    doubtful.append("email")
                return email
            is_present = True
    if is_present:
        unreadable.append("email")
    return None
