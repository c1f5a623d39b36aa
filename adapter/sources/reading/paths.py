"""The one reader of the catalog's paths: what it does with values, wherever they stand in a decoded element.

`dialect.py` reads elements as plain dicts; `segment/plans.py` reads typed envelopes, and gives the same results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from adapter.sources.reading.converters import CONVERTERS
from adapter.sources.reading.identity import address
from freshgate.declare import EventType, From, Path
from freshgate.errors import CatalogError

# A compiled path.
P = TypeVar("P")
Converter = Callable[[Any], Any]
# (canonical name, where it stands, best first, converter)
Field = tuple[str, tuple[P, ...], Converter]
# (fields, the person's own address, names of what is present and cannot be read)
Values = tuple[dict[str, Any], str | None, list[str]]


class Spelling(msgspec.Struct, Generic[P], frozen=True, gc=False):
    """How one CDP spells one event type, compiled.

    fields  those with a path: (canonical name, where it stands, best first, converter)
    emails  where the person's own address stands, best first
    """

    name: str
    fields: tuple[tuple[str, tuple[P, ...], Converter], ...]
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
                address if name.endswith("_email") else CONVERTERS[event.fields[name]],
            )
            for name, path in spelling.paths.items()
            if name != "email"
        ),
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


def choose_email(
    unreadable: list[str],
    places: tuple[P, ...],
    element: Any,
    first_present: Callable[[Any, tuple[P, ...]], Any],
) -> str | None:
    """The person's own address: the first real one. Adds "email" to `unreadable` where only others are present."""
    is_present = False
    for place in places:
        value = first_present(element, (place,))
        if value is not None:
            email = address(value)
            if email is not None:
                return email
            is_present = True
    if is_present:
        unreadable.append("email")
    return None
