"""Event types → plans: which members of an element to decode, and how to read each field from the typed envelope.

`source.py` reads its elements by them. `reading/dialect.py` reads dicts to the same results, at 1.4 to 1.6 times the
cost of decoding and reading here: with it a batch would cost more than its goal in `python -m bench`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from adapter.sources.reading.paths import (
    Converter,
    LineReader,
    Spelling,
    Values,
    add_fields,
    add_lines,
    alternatives,
    choose_email,
    compile_spelling,
    correct_refund,
)
from adapter.sources.reading.product_lines import PageUrl
from freshgate.declare import EventType, From
from freshgate.errors import CatalogError

# (how to reach the object, the key in it or None for the object itself, further keys)
Place = tuple[Callable[[Any], Any], str | None, tuple[str, ...]]
PROPERTIES = attrgetter("properties")
# Where the person's own address stands in every element (docs, connections/spec/common.md, "context.traits").
DEFAULT_EMAILS = ("context.traits.email",)


class ReadPlan(Spelling[Place], frozen=True, gc=False):
    """How Segment spells one event type; `fields` are those that are not in `plain`.

    plain        fields at `properties.<key>`: (canonical name, key, further keys to try, converter)
    plain_lines  products at `properties.<key>`, or all of `properties` where the key is None: (name, key, reader)
    """

    plain: tuple[tuple[str, str, tuple[str, ...], Converter], ...]
    plain_lines: tuple[tuple[str, str | None, LineReader], ...]


def plan(event: EventType) -> ReadPlan:
    """The plan of one event type. Raises CatalogError, naming it, for what cannot be compiled."""
    spelling = compile_spelling("segment", event, DEFAULT_EMAILS, place)
    plain: list[tuple[str, str, tuple[str, ...], Converter]] = []
    others: list[tuple[str, tuple[Place, ...], Converter]] = []
    for name, places, convert in spelling.fields:
        keys = [key for head, key, rest in places if head is PROPERTIES and key is not None and not rest]
        if keys and len(keys) == len(places):
            plain.append((name, keys[0], tuple(keys[1:]), convert))
        else:
            others.append((name, places, convert))
    plain_lines: list[tuple[str, str | None, LineReader]] = []
    other_lines: list[tuple[str, tuple[Place, ...], LineReader]] = []
    for name, places, read in spelling.lines:
        head, key, rest = places[0]
        if len(places) == 1 and head is PROPERTIES and not rest:
            plain_lines.append((name, key, read))
        else:
            other_lines.append((name, places, read))
    return ReadPlan(
        name=spelling.name,
        fields=tuple(others),
        lines=tuple(other_lines),
        rules=spelling.rules,
        is_refund=spelling.is_refund,
        emails=spelling.emails,
        suppresses=spelling.suppresses,
        effect=spelling.effect,
        read=spelling.read,
        plain=tuple(plain),
        plain_lines=tuple(plain_lines),
    )


def place(path: str) -> Place:
    """A dotted path, compiled. Of `context` two steps are attributes, since only its named members are decoded."""
    steps = path.split(".")
    depth = 2 if steps[0] == "context" and len(steps) > 1 else 1
    if not all(step.isidentifier() for step in steps[:depth]):
        raise CatalogError(f"path {path!r}: write the names of members, joined by dots")
    head = PROPERTIES if steps[0] == "properties" else attrgetter(".".join(steps[:depth]))
    rest = steps[depth:]
    return head, rest[0] if rest else None, tuple(rest[1:])


def first_present(envelope: Any, places: tuple[Place, ...]) -> Any:
    """The first value present; null and the empty text count as absent."""
    for head, key, rest in places:
        value = head(envelope)
        if key is not None:
            value = value.get(key) if type(value) is dict else None
            for step in rest:
                value = value.get(step) if type(value) is dict else None
        if value is not None and value != "":
            return value
    return None


def read_values(spelling: ReadPlan, envelope: Any, page_url: PageUrl) -> Values:
    """As `dialect.read_values`, but for what `spelling.read` adds: that needs the whole element."""
    fields: dict[str, Any] = {}
    unreadable: list[str] = []
    doubtful: list[str] = []
    properties = envelope.properties
    if type(properties) is dict:
        get = properties.get
        for name, key, more, convert in spelling.plain:
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
        if spelling.plain_lines:
            _add_plain_lines(fields, unreadable, spelling, properties, page_url)
    if spelling.fields:
        add_fields(fields, unreadable, spelling.fields, envelope, first_present)
    if spelling.lines:
        add_lines(fields, unreadable, spelling, envelope, first_present, page_url)
    if spelling.is_refund:
        correct_refund(fields)
    email = choose_email(unreadable, doubtful, spelling.emails, envelope, first_present)
    return fields, email, unreadable, doubtful


def _add_plain_lines(
    fields: dict[str, Any], unreadable: list[str], spelling: ReadPlan, properties: dict[str, Any], page_url: PageUrl
) -> None:
    for name, key, read in spelling.plain_lines:
        value = properties if key is None else properties.get(key)
        if value is not None and value != "":
            value = read(value, name, unreadable, spelling.rules, page_url)
            if value is not None:
                fields[name] = value


def members(spellings: Sequence[From], always: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The top-level members that any path mentions, and those of `context`: the only ones to decode."""
    paths = [option for spelling in spellings for path in spelling.paths.values() for option in alternatives(path)]
    steps = [path.split(".") for path in (*paths, *DEFAULT_EMAILS)]
    top = {*always, *(path[0] for path in steps)} - {"context"}
    context = {path[1] for path in steps if path[0] == "context" and len(path) > 1}
    return tuple(sorted(top)), tuple(sorted(context))
