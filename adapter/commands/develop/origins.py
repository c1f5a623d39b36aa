"""Finds the path from which each field of an event was read, with a catalog in which every path is a field of its own.

`read.py` shows the paths. The source reads that catalog like any other, so this works for source kinds to come.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from adapter.sources import SOURCES
from adapter.sources.reading.paths import alternatives
from freshgate.addresses import read_address
from freshgate.declare import EventType, FieldType, From
from freshgate.events import Event, Verdict

MARK = "\0"
BY_FUNCTION = "read"
# Where an address stands in every element, whatever its event type.
OWN_EMAILS = tuple(dict.fromkeys(path for kind in SOURCES.values() for path in kind.own_emails))


def probing(catalog: Sequence[EventType]) -> tuple[EventType, ...]:
    """The same catalog, with an additional field for each path that a field may come from."""
    return tuple(_with_probes(event) for event in catalog)


def paired(verdicts: Sequence[Verdict], probed: Sequence[Verdict]) -> Iterator[tuple[Verdict, Event | None]]:
    """Each verdict, with the event that the probing catalog makes of the same message; that catalog may make more."""
    events: dict[tuple[str, str], deque[Event]] = defaultdict(deque)
    for event in probed:
        if isinstance(event, Event):
            events[event.name, event.message_id].append(event)
    for verdict in verdicts:
        same = events[verdict.name, verdict.message_id] if isinstance(verdict, Event) else None
        yield verdict, same.popleft() if same else None


def origins(verdict: Verdict, probed: Event | None, catalog: Mapping[str, EventType]) -> dict[str, str]:
    """Field, or "email" → the path that it came from, of one event as both catalogs read it; absent fields are absent.

    The path of what a function of the catalog read is "read()"; what only the source knows is left out.
    """
    if not isinstance(verdict, Event) or probed is None:
        return {}
    paths: dict[str, str] = {}
    present = {*probed.fields, *probed.unreadable}
    for spelling in catalog[verdict.name].sources.values():
        for name, path in spelling.paths.items():
            for option in alternatives(path):
                if _probe(name, option) in present and _is_origin(name, option, verdict, probed):
                    paths.setdefault(name, option)
    for name in verdict.fields:
        if _probe(name, BY_FUNCTION) in present:
            paths[name] = f"{BY_FUNCTION}()"
    if verdict.email and "email" not in paths:
        for option in OWN_EMAILS:
            if _is_origin("email", option, verdict, probed):
                paths.setdefault("email", option)
    return paths


def _is_origin(name: str, option: str, verdict: Event, probed: Event) -> bool:
    """Whether the field may have come from there. Of addresses the first real one is read, not the first present."""
    if name != "email" or not verdict.email:
        return True
    return read_address(probed.fields.get(_probe(name, option))) == verdict.email


def _with_probes(event: EventType) -> EventType:
    fields: dict[str, FieldType] = dict(event.fields)
    sources: dict[str, From] = {}
    for kind, spelling in event.sources.items():
        paths = dict(spelling.paths)
        for name, path in [*spelling.paths.items(), ("email", SOURCES[kind].own_emails if kind in SOURCES else ())]:
            for option in alternatives(path):
                fields[_probe(name, option)] = "text" if name == "email" else event.fields.get(name, "text")
                paths[_probe(name, option)] = option
        read = _with_marks(spelling.read) if spelling.read else None
        sources[kind] = msgspec.structs.replace(spelling, paths=paths, read=read)
    return msgspec.structs.replace(event, fields=fields, sources=sources)


def _with_marks(read: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Callable[[Any], Mapping[str, Any]]:
    def read_with_marks(element: Mapping[str, Any]) -> Mapping[str, Any]:
        fields = read(element)
        return {**fields, **{_probe(name, BY_FUNCTION): True for name in fields}}

    return read_with_marks


def _probe(name: str, option: str) -> str:
    return f"{name}{MARK}{option}"
