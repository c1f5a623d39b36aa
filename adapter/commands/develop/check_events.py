"""Finds the faults in the event types of a catalog.

`check.py` collects the faults; the compilers of the source kinds say what they cannot read.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from types import ModuleType

from adapter.commands.develop.check_subjects import carried_faults
from adapter.commands.develop.check_when import impossible
from adapter.commands.develop.faults import Fault
from adapter.commands.develop.places import is_own, place_of
from adapter.sources import SOURCES
from adapter.sources.reading.paths import FIELD_TYPES, alternatives
from adapter.sources.unverified import readable
from freshgate.declare import EventType, From
from freshgate.errors import CatalogError, SettingsError
from freshgate.settings import SourceSettings

# What each effect on a cart or an order reads.
NEEDS = {"add": "product", "remove": "product", "snapshot": "products"}
# Types of fields that are not one text, so that no trait can hold them.
NOT_TRAITS = ("products", "product")


def event_faults(catalog: ModuleType) -> Iterator[Fault]:
    """Every fault of `catalog.EVENTS`."""
    package = catalog.__name__
    events: tuple[EventType, ...] = catalog.EVENTS
    names: dict[str, EventType] = {}
    sound: list[EventType] = []
    for event in events:
        if event.name in names:
            yield Fault(place_of(event, package), f"event type {event.name!r} stands in EVENTS twice")
        names[event.name] = event
        faults = list(_event_faults(event, package, {other.instead[0] for other in events if other.instead}))
        yield from faults
        if not faults:
            sound.append(event)
    yield from _shared_traits(sound, package)
    for kind in sorted({kind for event in sound for kind in event.sources if kind in SOURCES}):
        yield from _compiler_faults(kind, sound, package)


def _event_faults(event: EventType, package: str, alternatives_of_others: set[str]) -> Iterator[Fault]:
    if not any(kind in SOURCES for kind in event.sources) and event.name not in alternatives_of_others:
        where = place_of(event, package, "sources")
        yield Fault(where, f"{event.name}: no source can say it; give it a From in `sources`")
    for kind, spelling in event.sources.items():
        if kind not in SOURCES:
            where = place_of(event, package, "sources", kind)
            yield Fault(where, f"{event.name}: no source kind {kind!r}; known: {', '.join(SOURCES)}")
        elif SOURCES[kind].reads and not SOURCES[kind].reads_own_too:
            where = place_of(event, package, "sources", kind)
            yield Fault(where, f"{event.name}: {kind} reads the spelling of {SOURCES[kind].reads!r}; write it there")
        else:
            for path, text in impossible(SOURCES[kind], spelling.when):
                yield Fault(place_of(event, package, "sources", kind, path), f"{event.name} from {kind}: {text}")
        yield from _path_faults(event, kind, spelling, package)
    if event.name in alternatives_of_others and not event.sources:
        return
    with_path = {name for spelling in event.sources.values() for name in spelling.paths}
    has_function = any(spelling.read for spelling in event.sources.values())
    for name, field_type in event.fields.items():
        where = place_of(event, package, "fields", name)
        if field_type not in FIELD_TYPES:
            known = ", ".join(FIELD_TYPES)
            yield Fault(where, f"{event.name}: field {name!r} has no type {field_type!r}; known: {known}")
        # Which fields a function reads is not known without an element.
        if name not in with_path and not has_function:
            yield Fault(where, f"{event.name}: nobody fills field {name!r}; no source has a path")
    yield from _profile_faults(event, package)
    yield from carried_faults(event, package)
    needed = [NEEDS[event.cart]] if event.cart in NEEDS else []
    needed += ["order_id"] if event.order else []
    for name in needed:
        if name not in event.fields:
            effect = f"order={event.order!r}" if name == "order_id" else f"cart={event.cart!r}"
            yield Fault(place_of(event, package), f"{event.name}: {effect} needs the field {name!r}")


def _profile_faults(event: EventType, package: str) -> Iterator[Fault]:
    for name in event.profile:
        where = place_of(event, package, "profile", name)
        if name not in event.fields:
            yield Fault(where, f"{event.name}: profile keeps {name!r}, which is not a field")
        elif event.fields[name] in NOT_TRAITS:
            reason = f"which holds {event.fields[name]}; a trait is one text, so keep a field of another type"
            yield Fault(where, f"{event.name}: profile keeps {name!r}, {reason}")
    for name in event.shares:
        if name not in event.profile:
            where = place_of(event, package, "shares", name)
            yield Fault(where, f"{event.name}: shares {name!r}, which is not in its `profile`; add it there")


def _shared_traits(events: Sequence[EventType], package: str) -> Iterator[Fault]:
    """Traits that two event types keep and neither shares on purpose: the newer event would overwrite the other's."""
    for name in dict.fromkeys(name for event in events for name in event.profile):
        keeping = {event.name: event for event in events if name in event.profile and name not in event.shares}
        # A fault of the catalog's own entry, where one of them is another catalog's.
        ordered = sorted(keeping.values(), key=lambda event: is_own(event, package))
        for event in ordered[1:]:
            advice = f'rename it, or write shares=("{name}",) if both are the same fact about a person'
            text = f"{event.name}: profile keeps {name!r}, which {ordered[0].name} keeps too; {advice}"
            yield Fault(place_of(event, package, "profile", name), text)


def _path_faults(event: EventType, kind: str, spelling: From, package: str) -> Iterator[Fault]:
    roots = SOURCES[kind].roots if kind in SOURCES else ()
    for name, path in spelling.paths.items():
        where = place_of(event, package, "sources", kind, name)
        head = f"{event.name} from {kind}: "
        if name not in event.fields:
            yield Fault(where, f"{head}the path of {name!r} has no field; declare it in `fields`")
        for option in alternatives(path):
            steps = option.split(".")
            if not all(steps):
                yield Fault(where, f"{head}path {option!r} of {name!r} has an empty step")
            elif roots and steps[0] not in roots:
                near = difflib.get_close_matches(steps[0], roots, 1) or roots
                begins = f"path {option!r} of {name!r} begins with {steps[0]!r}"
                yield Fault(where, f"{head}{begins}, which no element has; is {' or '.join(near)} meant?")
        if len(set(alternatives(path))) < len(alternatives(path)):
            yield Fault(where, f"{head}{name!r} names a path twice")


def _compiler_faults(kind: str, events: Sequence[EventType], package: str) -> Iterator[Fault]:
    """The errors of that kind's own compiler, for each event type together with the sound ones before it."""
    sound: list[EventType] = []
    settings = readable(SourceSettings(kind=kind))
    for event in events:
        try:
            SOURCES[kind].configure("check", settings, [*sound, event])
        except CatalogError as error:
            yield Fault(place_of(event, package, "sources", kind), str(error))
        except SettingsError:
            return  # the kind needs more settings than `readable` makes up
        else:
            sound.append(event)
