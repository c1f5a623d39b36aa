"""The one reader of the catalog's paths: which values an element has for an event type, and what they are read as.

`dialect.py` compiles paths for elements as plain dicts, `segment/plans.py` for typed envelopes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from adapter.sources.reading.converters import CONVERTERS
from adapter.sources.reading.identity import address, order_id
from freshgate.declare import EventType, From, Path
from freshgate.errors import CatalogError

Converter = Callable[[Any], Any]
# (canonical name, converter, whether it is an id, its keys in one object, best first; none where it is the object)
Plain = tuple[str, Converter, bool, tuple[str, ...]]
# Reaches the object that holds a value in an element, and the value's key in it; None is the object itself.
Place = tuple[Callable[[Any], Any], str | None]
# (fields, the person's own address, names of what is present and cannot be read)
Values = tuple[dict[str, Any], str | None, list[str]]
# Compiles how to reach an object: its path, where "" is the element, and the keys that paths name in it.
Reach = Callable[[str, tuple[str, ...]], Callable[[Any], Any]]

# The field with an address that somebody typed into a form of the shop, such as the checkout's. A guest has no other,
# so it is the guest's own; a customer may have typed another's.
CONTACT_EMAIL = "contact_email"
MAX_SHAPES = 500
MAX_SHAPE_KEYS = 300


class Spelling(msgspec.Struct, frozen=True):
    """How one CDP spells one event type, compiled.

    main        reaches the object that holds most fields
    plain       the fields in it: (canonical name, converter, whether it is an id, keys, best first)
    others      all other fields: (canonical name, converter, whether it is an id, where it stands, best first)
    emails      where the person's own address stands, best first
    by_address  whether an address without an id is enough: it is about the address
    instead     the event type that it is instead where its fields say so
    shapes      the keys of the main object → `plain` with the keys that it has. The elements of one page, app or plugin
                have the same keys again and again
    names       the keys of another object → the same keys by their folded names
    """

    name: str
    main: Callable[[Any], Any]
    plain: tuple[Plain, ...]
    others: tuple[tuple[str, Converter, bool, tuple[Place, ...]], ...]
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


@lru_cache(4096)
def fold(name: str) -> str:
    """A name as Segment's destinations compare it: FIRST_NAME, firstName and "First Name" are one (obj-case)."""
    return "".join(filter(str.isalnum, name)).lower()


def compile_spelling(
    kind: str, event: EventType, own_emails: tuple[str, ...], reach: Reach, junk: frozenset[str]
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
            (reach(path, objects[path]), None) if path in objects else (reach(container, objects[container]), key)
            for path in options
            for container, key in (steps[path],)
        )

    plain = {
        name: tuple(steps[path][1] for path in options)
        for name, options in paths.items()
        if all(steps[path][0] == main_path and path not in objects for path in options)
    }
    # Segment's product is `properties` as a whole.
    plain |= {name: () for name, options in paths.items() if options == (main_path,)}
    fields = {name: (name, _converter(name, event, junk), event.fields[name] == "id") for name in paths}
    return Spelling(
        name=event.name,
        main=reach(main_path, objects.get(main_path, ())),
        plain=tuple((*fields[name], keys) for name, keys in plain.items()),
        others=tuple((*fields[name], places(options)) for name, options in paths.items() if name not in plain),
        emails=places(emails),
        by_address=bool(event.suppresses or event.lifts),
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
    return address if name.endswith("_email") else CONVERTERS[event.fields[name]]


def read_values(spelling: Spelling, element: Any) -> Values:
    """The declared fields that are present and readable, the person's own address, and the names of what is not.

    Null and the empty text count as absent. What `spelling.read` adds is left to the caller.
    """
    fields: dict[str, Any] = {}
    unreadable: list[str] = []
    main = spelling.main(element)
    if type(main) is dict:
        shape = tuple(main)
        for name, convert, is_id, keys in spelling.shapes.get(shape) or _compile_shape(spelling, shape):
            # Nearly always there is one key, and it has a value that can be read.
            value = main[keys[0]] if keys else main
            if value is not None and value != "" and (value := convert(value)) is not None:
                fields[name] = value
            else:
                _add_other(name, convert, is_id, _present(main, keys), fields, unreadable)
    for name, convert, is_id, places in spelling.others:
        _add_other(name, convert, is_id, _present_at(spelling, element, places), fields, unreadable)
    for reach, key in spelling.emails:
        container = reach(element)
        if type(container) is dict and key in container and (email := address(container[key])) is not None:
            return fields, email, unreadable
    return fields, _other_email(spelling, element, unreadable), unreadable


def name_and_email(
    spelling: Spelling, fields: Mapping[str, Any], email: str | None, user_id: str | None, anonymous_id: str | None
) -> tuple[str, str | None]:
    """The event type that the fields make of it, and the person's own address."""
    if email is None and user_id is None:
        email = fields.get(CONTACT_EMAIL)
    if spelling.instead is not None and spelling.instead[1](fields):
        # What bounced may be an old address, so it becomes nobody's own.
        return spelling.instead[0], email if user_id is None and anonymous_id is None else None
    return spelling.name, email


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
        if converted is not None:
            fields[name] = converted
            return
        if not is_id:
            break
    if is_present:
        unreadable.append(name)


def _other_email(spelling: Spelling, element: Any, unreadable: list[str]) -> str | None:
    fields: dict[str, Any] = {}
    _add_other("email", address, True, _present_at(spelling, element, spelling.emails), fields, unreadable)
    return fields.get("email")


def _compile_shape(spelling: Spelling, shape: tuple[str, ...]) -> tuple[Plain, ...]:
    """The plain fields that an object with these keys has, each with the keys that mean it, best first."""
    by_name = _fold_keys(shape)
    compiled: list[Plain] = []
    for name, convert, is_id, keys in spelling.plain:
        present = tuple(dict.fromkeys(spelled for key in keys for spelled in _spellings(key, by_name)))
        if present or not keys:
            compiled.append((name, convert, is_id, present))
    if len(shape) <= MAX_SHAPE_KEYS:
        if len(spelling.shapes) >= MAX_SHAPES:
            spelling.shapes.clear()
        spelling.shapes[shape] = tuple(compiled)
    return tuple(compiled)


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
    values = (container[key] for key in keys) if keys else (container,)
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
        if len(shape) <= MAX_SHAPE_KEYS:
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
