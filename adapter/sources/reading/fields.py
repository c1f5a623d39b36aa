"""The one reader of an element's fields: which values it has for an event type, and what they are read as.

`paths.py` compiles where they stand, `converters.py` converts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from adapter.sources.reading.names import fold
from adapter.sources.reading.paths import Converter, Place, Plain, Spelling
from adapter.sources.reading.sent_addresses import read_sent_address
from freshgate.addresses import is_lookalike
from freshgate.events import CONTACT_EMAIL, ORDER_EMAIL

# (fields, the person's own address, names of what is present and cannot be read, names of what is doubtful)
Values = tuple[dict[str, Any], str | None, list[str], list[str]]
# What is compiled for shapes that come again and again: of so many keys, with so many characters in all.
MAX_SHAPES = 500
MAX_SHAPE_KEYS, MAX_SHAPE_LENGTH = 300, 6000


def read_values(spelling: Spelling, element: Any) -> Values:
    """The declared fields that are present and readable, the person's own address, and the names of what is not
    readable, or doubtful.

    Null and the empty text count as absent. What `spelling.read` adds is left to the caller.
    """
    fields: dict[str, Any] = {}
    unreadable: list[str] = []
    main = spelling.main(element)
    if type(main) is dict:
        shape = tuple(main)
        plain = spelling.shapes.get(shape)
        for name, convert, is_id, keys in _compile_shape(spelling, shape) if plain is None else plain:
            # Nearly always there is one key, and it has a value that can be read.
            value = main[keys[0]]
            if value is not None and value != "" and (value := convert(value)) is not None:
                fields[name] = value
            else:
                _add_other(name, convert, is_id, _present(main, keys), fields, unreadable)
    for name, convert, is_id, places in spelling.others:
        # The first place has it, or it is absent.
        reach, key = places[0]
        container = reach(element)
        value = container.get(key) if type(container) is dict else None
        if value is not None and value != "" and (value := convert(value)) is not None:
            fields[name] = value
            continue
        _add_other(name, convert, is_id, _present_at(spelling, element, places), fields, unreadable)
    for name, read, places in spelling.lines:
        reach, key = places[0]
        container = reach(element)
        value = container if key is None else container.get(key) if type(container) is dict else None
        if not value:
            value = next(_present_at(spelling, element, places[:1]), None)
        if value is None:
            # Elsewhere, such as in `items`, may stand how many there are.
            value = next(filter(_has_lines, _present_at(spelling, element, places[1:])), None)
        if value is not None and (lines := read(value, name, unreadable, spelling.rules, element)) is not None:
            fields[name] = lines
    if spelling.is_refund:
        _correct_refund(fields)
    doubtful: list[str] = []
    return fields, _own_email(spelling, element, unreadable, doubtful), unreadable, doubtful


def name_and_email(
    spelling: Spelling, fields: Mapping[str, Any], email: str | None, user_id: str | None, anonymous_id: str | None
) -> tuple[str, str | None]:
    """The event type that the fields make of it, and the person's own address."""
    if email is None and user_id is None:
        email = fields.get(CONTACT_EMAIL)
        if email is None and anonymous_id is None:
            # An order that names nobody else is its address's.
            email = fields.get(ORDER_EMAIL)
    if spelling.instead is not None and spelling.instead[1](fields):
        # What bounced may be an old address, so it becomes nobody's own.
        return spelling.instead[0], email if user_id is None and anonymous_id is None else None
    return spelling.name, email


def _has_lines(value: Any) -> bool:
    return type(value) in (list, dict) or (type(value) is str and value.lstrip()[:1] in ("[", "{"))


def _add_other(
    name: str,
    convert: Converter,
    is_id: bool,
    values: Iterator[Any],
    fields: dict[str, Any],
    unreadable: list[str],
) -> None:
    """Adds the first value that is present. Two names of an id are two spellings of it, so where one is unreadable,
    the next counts. An amount's are not: a readable revenue is not the unreadable total."""
    is_present = False
    for value in values:
        is_present = True
        converted = convert(value)
        if converted is None and type(value) is list and len(value) == 1:
            # A list of one says the same (Tealium's attributes, exports of columns with several values).
            converted = convert(value[0])
        if converted is not None:
            fields[name] = converted
            return
        if not is_id:
            break
    if is_present:
        unreadable.append(name)


def _correct_refund(fields: dict[str, Any]) -> None:
    """Amounts given back are positive, whichever sign they were sent with; 0 is what CDPs fill in for none."""
    for name, amount in list(fields.items()):
        if type(amount) is Decimal:
            if amount:
                fields[name] = abs(amount)
            else:
                del fields[name]


def _own_email(spelling: Spelling, element: Any, unreadable: list[str], doubtful: list[str]) -> str | None:
    """The first address at its places, or at any spelling of them."""
    for reach, key in spelling.emails:
        container = reach(element)
        if (
            type(container) is dict
            and key in container
            and (email := read_sent_address(value := container[key])) is not None
        ):
            if email is not value and is_lookalike(value):
                doubtful.append("email")
            return email
    is_present = False
    for value in _present_at(spelling, element, spelling.emails):
        email = read_sent_address(value)
        if email is not None:
            if email is not value and is_lookalike(value):
                doubtful.append("email")
            return email
        is_present = True
    if is_present:
        unreadable.append("email")
    return None


def _compile_shape(spelling: Spelling, shape: tuple[str, ...]) -> tuple[Plain, ...]:
    """The plain fields that an object with these keys has, each with the keys that mean it, best first."""
    by_name = _fold_keys(shape)
    compiled: list[Plain] = []
    for name, convert, is_id, keys in spelling.plain:
        present = tuple(dict.fromkeys(spelled for key in keys for spelled in _spellings(key, by_name)))
        if present:
            compiled.append((name, convert, is_id, present))
    if _is_usual(shape):
        if len(spelling.shapes) >= MAX_SHAPES:
            spelling.shapes.clear()
        spelling.shapes[shape] = tuple(compiled)
    return tuple(compiled)


def _is_usual(shape: tuple[str, ...]) -> bool:
    """Whether what is compiled for an object with these keys is kept: not where a caller calls its data keys."""
    return len(shape) <= MAX_SHAPE_KEYS and sum(map(len, shape)) <= MAX_SHAPE_LENGTH


def _fold_keys(keys: Iterable[str]) -> dict[str, list[str]]:
    by_name: dict[str, list[str]] = {}
    for key in keys:
        by_name.setdefault(fold(key), []).append(key)
    return by_name


def _spellings(key: str, by_name: Mapping[str, list[str]]) -> Iterator[str]:
    """The keys that mean this one: itself, then those that differ from it in case or separators."""
    spelled = by_name.get(fold(key), ())
    yield from sorted(spelled, key=lambda other: other != key)


def _present(container: dict[str, Any], keys: tuple[str, ...]) -> Iterator[Any]:
    values = (container[key] for key in keys)
    return (value for value in values if value is not None and value != "")


def _present_at(spelling: Spelling, element: Any, places: tuple[Place, ...]) -> Iterator[Any]:
    for reach, key in places:
        container = reach(element)
        if key is None:
            values: Iterable[Any] = (container,)
        elif type(container) is dict and container:
            values = (container[spelled] for spelled in _spellings(key, _names(spelling, container)))
        else:
            continue
        yield from (value for value in values if value is not None and value != "")


def _names(spelling: Spelling, container: dict[str, Any]) -> Mapping[str, list[str]]:
    """The keys of the object, by their folded names."""
    shape = tuple(container)
    names = spelling.names.get(shape)
    if names is None:
        names = _fold_keys(shape)
        if _is_usual(shape):
            if len(spelling.names) >= MAX_SHAPES:
                spelling.names.clear()
            spelling.names[shape] = names
    return names


def locate(element: Any, path: str) -> tuple[str, Any] | None:
    """The path as the element spells it, and the value there; None where no value is present."""
    step, _, rest = path.partition(".")
    if type(element) is not dict:
        return None
    for spelled in _spellings(step, _fold_keys(element)):
        value = element[spelled]
        if rest:
            place = locate(value, rest)
            if place is not None:
                return f"{spelled}.{place[0]}", place[1]
        elif value is not None and value != "":
            return spelled, value
    return None
