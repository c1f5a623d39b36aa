"""Finds values of a wrong type in what a catalog declares: a text where a tuple belongs, a word that is not in its set.

`check.py` looks for these faults before all others, since Python itself checks no annotations.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import ModuleType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

import freshgate
from adapter.commands.develop.faults import Fault
from adapter.commands.develop.places import place_of
from freshgate import declare
from freshgate.declare import EventType, From

# Type → (whether a value is one, what to write).
RIGHT: Mapping[Any, tuple[Callable[[Any], bool], str]] = {
    str: (lambda value: isinstance(value, str) and bool(value.strip()), "a text that is not empty"),
    bool: (lambda value: type(value) is bool, "True or False"),
    tuple[str, ...]: (
        lambda value: isinstance(value, tuple) and all(isinstance(item, str) for item in value),
        'a tuple of texts, such as ("a", "b")',
    ),
    tuple[int, int]: (
        lambda value: isinstance(value, tuple) and [*map(type, value)] == [int, int] and value[0] > 0,
        'how many in how long, such as "1/24h"',
    ),
}


def type_faults(catalog: ModuleType) -> Iterator[Fault]:
    """The fields of event types, their spellings and triggers whose value has a wrong type, with what to write."""
    package = catalog.__name__
    for event in catalog.EVENTS:
        yield from _entry_faults(event, f"{event.name}: ", package)
        if isinstance(event.sources, Mapping):
            yield from _spelling_faults(event, package)
    for trigger in catalog.TRIGGERS:
        yield from _entry_faults(trigger, f"trigger {trigger.name}: ", package)


def _entry_faults(entry: msgspec.Struct, head: str, package: str) -> Iterator[Fault]:
    for name, hint in _hints(type(entry)).items():
        value = getattr(entry, name)
        text = _describe_fault(name, value, hint)
        if text:
            yield Fault(place_of(entry, package, name), f"{head}{text}")


def _spelling_faults(event: EventType, package: str) -> Iterator[Fault]:
    for kind, spelling in event.sources.items():
        where, head = place_of(event, package, "sources", kind), f"{event.name} from {kind}: "
        if not isinstance(spelling, From):
            yield Fault(where, f"{head}{spelling!r:.80}; write a From(when={{…}}, paths={{…}})")
            continue
        for name, hint in _hints(From).items():
            text = _describe_fault(name, getattr(spelling, name), hint)
            if text:
                yield Fault(where, f"{head}{text}")
        for name, path in spelling.paths.items() if isinstance(spelling.paths, Mapping) else ():
            if not isinstance(path, str) and not RIGHT[tuple[str, ...]][0](path):
                place = place_of(event, package, "sources", kind, name)
                yield Fault(place, f'{head}the path of {name!r} is {path!r:.80}; write "a.b", or a tuple of such texts')


@cache
def _hints(struct: type[msgspec.Struct]) -> Mapping[str, Any]:
    # Annotations name types that `declare` imports for type checkers only.
    return get_type_hints(struct, localns={**vars(freshgate), **vars(declare)})


def _describe_fault(name: str, value: Any, hint: Any) -> str:
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if value is None:
        return "" if type(None) in options else f"{name} is None; it must be set"
    texts = [_describe_value(name, value, option) for option in options if option is not type(None)]
    return texts[0] if all(texts) else ""


def _describe_value(name: str, value: Any, hint: Any) -> str:
    if get_origin(hint) is Literal:
        return _describe_word(name, value, [str(word) for word in get_args(hint)])
    if get_origin(hint) is Mapping:
        is_sound = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
        if is_sound and get_origin(get_args(hint)[1]) is Literal:
            is_sound = all(isinstance(word, str) for word in value.values())
        return "" if is_sound else f"{name} is {value!r:.80}; write a dict of texts: {name}={{…}}"
    if get_origin(hint) is Callable:
        return "" if callable(value) else f"{name} is {value!r:.80}; write the function itself, without calling it"
    for kind, (is_right, advice) in RIGHT.items():
        if hint == kind and not is_right(value):
            written = f'a tuple: {name}=("{value}",)' if kind == tuple[str, ...] and type(value) is str else advice
            return f"{name} is {value!r}; write {written}"
    if name in ("delay", "settle", "max_age") and type(value) is not int:
        return f'{name} is {value!r}; write a duration, such as {name}="30m"'
    return ""


def _describe_word(name: str, value: Any, words: list[str]) -> str:
    if value in words:
        return ""
    near = difflib.get_close_matches(str(value), words, 1)
    return f"{name} is {value!r}; write {near[0] if near else ' or '.join(words)}"
