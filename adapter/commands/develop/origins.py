"""Where each field of an event was read from: asked of the source itself, by a catalog in which every path is a field.

`read.py` shows the answer. No source kind knows of it, so it works for those that are yet to be written.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from adapter.sources import SOURCES
from adapter.sources.reading.dialect import alternatives
from freshgate.declare import EventType, FieldType, From
from freshgate.events import Event, Verdict

MARK = "\0"
BY_FUNCTION = "read"
# Where an address stands in every element, whatever its event type.
OWN_EMAILS = tuple(dict.fromkeys(path for kind in SOURCES.values() for path in kind.own_emails))


def probing(catalog: Sequence[EventType]) -> tuple[EventType, ...]:
    """The same catalog, and beside each field one more for each path that it may come from."""
    return tuple(_probed(event) for event in catalog)


def paired(verdicts: Sequence[Verdict], probed: Sequence[Verdict]) -> Iterator[tuple[Verdict, Event | None]]:
    """Each verdict, and the event that the probing catalog made of the same message; a richer catalog may make more."""
    waiting: dict[tuple[str, str], deque[Event]] = defaultdict(deque)
    for event in probed:
        if isinstance(event, Event):
            waiting[event.name, event.message_id].append(event)
    for verdict in verdicts:
        same = waiting[verdict.name, verdict.message_id] if isinstance(verdict, Event) else None
        yield verdict, same.popleft() if same else None


def origins(verdict: Verdict, probed: Event | None, catalog: Mapping[str, EventType]) -> dict[str, str]:
    """Field, or "email" → the path that it came from, of one event as both catalogs read it; absent fields are absent.

    What a function of the catalog read comes from "read()"; what only the source knows is left out.
    """
    if not isinstance(verdict, Event) or probed is None:
        return {}
    found: dict[str, str] = {}
    present = {*probed.fields, *probed.unreadable}
    for spelling in catalog[verdict.name].sources.values():
        for name, path in spelling.paths.items():
            for option in alternatives(path):
                if _probe(name, option) in present and _may_be(name, option, verdict, probed):
                    found.setdefault(name, option)
    for name in verdict.fields:
        if _probe(name, BY_FUNCTION) in present:
            found[name] = f"{BY_FUNCTION}()"
    if verdict.email and "email" not in found:
        for option in OWN_EMAILS:
            if _may_be("email", option, verdict, probed):
                found.setdefault("email", option)
    return found


def _may_be(name: str, option: str, verdict: Event, probed: Event) -> bool:
    """Of the own address the first real one is taken, not the first present."""
    if name != "email" or not verdict.email:
        return True
    return str(probed.fields.get(_probe(name, option), "")).strip() == verdict.email


def _probed(event: EventType) -> EventType:
    fields: dict[str, FieldType] = dict(event.fields)
    sources: dict[str, From] = {}
    for kind, spelling in event.sources.items():
        paths = dict(spelling.paths)
        for name, path in [*spelling.paths.items(), ("email", SOURCES[kind].own_emails if kind in SOURCES else ())]:
            for option in alternatives(path):
                fields[_probe(name, option)] = "text" if name == "email" else event.fields.get(name, "text")
                paths[_probe(name, option)] = option
        read = _marking(spelling.read) if spelling.read else None
        sources[kind] = msgspec.structs.replace(spelling, paths=paths, read=read)
    return msgspec.structs.replace(event, fields=fields, sources=sources)


def _marking(read: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Callable[[Any], Mapping[str, Any]]:
    def marked(element: Mapping[str, Any]) -> Mapping[str, Any]:
        told = read(element)
        return {**told, **{_probe(name, BY_FUNCTION): True for name in told}}

    return marked


def _probe(name: str, option: str) -> str:
    return f"{name}{MARK}{option}"
