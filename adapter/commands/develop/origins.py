"""Finds the path from which each field of an event was read, with a catalog that says what stands at every path.

`read.py` shows the paths. The source reads that catalog like any other, so this works for source kinds to come.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from adapter.sources import SOURCES
from adapter.sources.reading.fields import locate
from adapter.sources.reading.paths import alternatives
from freshgate.addresses import read_address
from freshgate.declare import EventType, From
from freshgate.events import Event, Verdict

MARK = "\0"
BY_FUNCTION = "read"
# Where an address stands in every element, whatever its event type.
OWN_EMAILS = tuple(dict.fromkeys(path for kind in SOURCES.values() for path in kind.own_emails))


def probing(catalog: Sequence[EventType]) -> tuple[EventType, ...]:
    """The same catalog, whose events also have what stands at each path that a field may come from."""
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
    for spelling in catalog[verdict.name].sources.values():
        for name, path in [*spelling.paths.items(), ("email", OWN_EMAILS)]:
            for option in alternatives(path):
                place, value = probed.fields.get(_probe(name, option), ("", None))
                # Of addresses the first real one is read, not the first present.
                if place and (name != "email" or (verdict.email and read_address(value) == verdict.email)):
                    paths.setdefault(name, place)
    for name in verdict.fields:
        if _probe(name, BY_FUNCTION) in probed.fields:
            paths[name] = f"{BY_FUNCTION}()"
    known = {"email", *verdict.fields, *verdict.unreadable}
    return {name: path for name, path in paths.items() if name in known}


def _with_probes(event: EventType) -> EventType:
    """The event type with a function that says for each path what stands there."""
    sources: dict[str, From] = {}
    for kind, spelling in event.sources.items():
        own_emails = SOURCES[kind].own_emails if kind in SOURCES else ()
        options = [
            (name, option)
            for name, path in [*spelling.paths.items(), ("email", own_emails)]
            for option in alternatives(path)
        ]
        sources[kind] = msgspec.structs.replace(spelling, read=_probes(options, spelling.read))
    return msgspec.structs.replace(event, sources=sources)


def _probes(
    options: Sequence[tuple[str, str]], read: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None
) -> Callable[[Any], Mapping[str, Any]]:
    def read_with_probes(element: Mapping[str, Any]) -> Mapping[str, Any]:
        fields = {**read(element)} if read else {}
        marks: dict[str, Any] = {_probe(name, BY_FUNCTION): True for name in fields}
        places = {_probe(name, option): place for name, option in options if (place := locate(element, option))}
        return {**fields, **marks, **places}

    return read_with_probes


def _probe(name: str, option: str) -> str:
    return f"{name}{MARK}{option}"
