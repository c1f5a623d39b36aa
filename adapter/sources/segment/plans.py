"""Event types → plans: which members of an element to decode, and tuples that say how to read each field.

`source.py` reads its elements by them; what cannot be compiled stops the start with a CatalogError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from adapter.sources.reading.converters import CONVERTERS
from adapter.sources.reading.dialect import alternatives
from adapter.sources.reading.identity import address
from freshgate.declare import EventType, From
from freshgate.errors import CatalogError

Head = Callable[[Any], Any]
# (how to reach the object, the key in it or None for the object itself, further keys)
Place = tuple[Head, str | None, tuple[str, ...]]
Converter = Callable[[Any], Any]


class ReadPlan(msgspec.Struct, frozen=True, gc=False):
    """How to read one event type from one kind of source.

    plain   fields at `properties.<key>`: (canonical name, key, further keys to try, converter)
    others  fields elsewhere or in several places: (canonical name, places, converter)
    emails  where the person's own address stands, best first
    """

    name: str
    plain: tuple[tuple[str, str, tuple[str, ...], Converter], ...]
    others: tuple[tuple[str, tuple[Place, ...], Converter], ...]
    emails: tuple[Place, ...]
    suppresses: bool
    effect: str | None
    read: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None


# An address stands here whatever the event (docs, connections/spec/common.md, "context.traits").
EVERY_EMAIL = ("context.traits.email",)


def plan(event: EventType, spelling: From) -> ReadPlan:
    """The plan of one event type; raises CatalogError, naming it, for fields that are not declared."""
    plain: list[tuple[str, str, tuple[str, ...], Converter]] = []
    others: list[tuple[str, tuple[Place, ...], Converter]] = []
    emails: tuple[str, ...] = EVERY_EMAIL
    for name, path in spelling.paths.items():
        if name not in event.fields:
            raise CatalogError(f"{event.name}: the path of {name!r} has no field; declare it in `fields`")
        if name == "email":
            emails = tuple(dict.fromkeys(alternatives(path) + EVERY_EMAIL))
            continue
        # Of other people's addresses (the order's own) too, only real ones get further.
        converter = address if name.endswith("_email") else CONVERTERS[event.fields[name]]
        options = alternatives(path)
        if all(option.startswith("properties.") and option.count(".") == 1 for option in options):
            key, *more = (option.removeprefix("properties.") for option in options)
            plain.append((name, key, tuple(more), converter))
        else:
            others.append((name, tuple(place(option) for option in options), converter))
    return ReadPlan(
        name=event.name,
        plain=tuple(plain),
        others=tuple(others),
        emails=tuple(place(option) for option in emails),
        suppresses=event.suppresses is not None,
        effect=event.effect,
        read=spelling.read,
    )


def place(path: str) -> Place:
    """A dotted path, compiled. Of `context` two steps are attributes, since only its named members are decoded."""
    steps = path.split(".")
    depth = 2 if steps[0] == "context" and len(steps) > 1 else 1
    if not all(step.isidentifier() for step in steps[:depth]):
        raise CatalogError(f"path {path!r}: write the names of members, joined by dots")
    rest = steps[depth:]
    return attrgetter(".".join(steps[:depth])), rest[0] if rest else None, tuple(rest[1:])


def at(element: Any, places: tuple[Place, ...]) -> Any:
    """The first value present; null and the empty text count as absent."""
    for head, key, rest in places:
        value = head(element)
        if key is not None:
            value = value.get(key) if type(value) is dict else None
            for step in rest:
                value = value.get(step) if type(value) is dict else None
        if value is not None and value != "":
            return value
    return None


def read_fields(found: ReadPlan, envelope: Any) -> tuple[dict[str, Any], list[str]]:
    """The declared fields that are present and readable, and the names of those that are present and not."""
    fields: dict[str, Any] = {}
    unreadable: list[str] = []
    properties = envelope.properties
    if type(properties) is dict:
        get = properties.get
        for name, key, more, convert in found.plain:
            value = get(key)
            if value is None or value == "":
                for other in more:
                    value = get(other)
                    if value is not None and value != "":
                        break
                else:
                    continue
            value = convert(value)
            if value is None:
                unreadable.append(name)
            else:
                fields[name] = value
    for name, places, convert in found.others:
        value = at(envelope, places)
        if value is not None:
            value = convert(value)
            if value is None:
                unreadable.append(name)
            else:
                fields[name] = value
    return fields, unreadable


def own_address(found: ReadPlan, envelope: Any) -> tuple[str | None, bool]:
    """The person's own address, or None; and whether there was something in its place that is none."""
    garbled = False
    for place in found.emails:
        value = at(envelope, (place,))
        if value is not None:
            email = address(value)
            if email is not None:
                return email, False
            garbled = True
    return None, garbled


def members(spellings: Sequence[From], always: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The top-level members that any path mentions, and those of `context`: the only ones to decode."""
    paths = [option for spelling in spellings for path in spelling.paths.values() for option in alternatives(path)]
    steps = [path.split(".") for path in (*paths, *EVERY_EMAIL)]
    top = {*always, *(path[0] for path in steps)} - {"context"}
    context = {path[1] for path in steps if path[0] == "context" and len(path) > 1}
    return tuple(sorted(top)), tuple(sorted(context))
