"""Finds the faults in the event types of a catalog, and in their payload pairs.

`check.py` collects the faults; the compilers of the source kinds say what they cannot read.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from adapter.commands.develop.faults import Fault
from adapter.commands.develop.places import place_of, place_of_catalog
from adapter.sources import SOURCES
from adapter.sources.reading.converters import CONVERTERS
from adapter.sources.reading.paths import alternatives
from adapter.sources.unverified import readable
from freshgate.declare import EventType, From
from freshgate.errors import CatalogError, SettingsError
from freshgate.settings import SourceSettings

FILL_IN = "fill in"
# What each effect on a cart or an order reads.
NEEDS = {"add": "product", "remove": "product", "snapshot": "products"}


def faults(catalog: ModuleType) -> Iterator[Fault]:
    """Every fault of `catalog.EVENTS`."""
    package = catalog.__name__
    events: tuple[EventType, ...] = catalog.EVENTS
    names: dict[str, EventType] = {}
    sound: list[EventType] = []
    for event in events:
        if event.name in names:
            yield Fault(place_of(event, package), f"event type {event.name!r} stands in EVENTS twice")
        names[event.name] = event
        event_faults = list(_event_faults(event, package, {other.instead[0] for other in events if other.instead}))
        yield from event_faults
        if not event_faults:
            sound.append(event)
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
        yield from _path_faults(event, kind, spelling, package)
    if event.name in alternatives_of_others and not event.sources:
        return
    with_path = {name for spelling in event.sources.values() for name in spelling.paths}
    has_function = any(spelling.read for spelling in event.sources.values())
    for name, field_type in event.fields.items():
        where = place_of(event, package, "fields", name)
        if field_type not in CONVERTERS:
            known = ", ".join(CONVERTERS)
            yield Fault(where, f"{event.name}: field {name!r} has no type {field_type!r}; known: {known}")
        # Which fields a function reads is not known without an element.
        if name not in with_path and not has_function:
            yield Fault(where, f"{event.name}: nobody fills field {name!r}; no source has a path")
    for name in event.profile:
        if name not in event.fields:
            yield Fault(
                place_of(event, package, "profile"), f"{event.name}: profile keeps {name!r}, which is not a field"
            )
    needed = [NEEDS[event.cart]] if event.cart in NEEDS else []
    needed += ["order_id"] if event.order else []
    for name in needed:
        if name not in event.fields:
            effect = f"order={event.order!r}" if name == "order_id" else f"cart={event.cart!r}"
            yield Fault(place_of(event, package), f"{event.name}: {effect} needs the field {name!r}")


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


def missing_pairs(catalog: ModuleType, folder: Path) -> Iterator[Fault]:
    """Faults for event types without a payload pair for one of their CDPs, halves of pairs, and pairs to be filled in.

    `folder` has a folder for each kind of source: <event type>__<case>.json and .expected.json.
    """
    package = catalog.__name__
    for event in catalog.EVENTS:
        # What a catalog takes over from another one has its pairs there.
        if not Path(place_of(event, package)).is_relative_to(_home(package)):
            continue
        for kind in event.sources:
            stem = folder / kind / f"{slug(event.name)}__"
            expected = [entry for path in stem.parent.glob(f"{stem.name}*.expected.json") for entry in _expected(path)]
            if not any(entry.get("name") == event.name or FILL_IN in entry for entry in expected):
                where = place_of(event, package, "sources", kind)
                yield Fault(where, f"{event.name} from {kind}: no payload pair; write {stem}full.json")
    for path in sorted(folder.glob("*/*.json")):
        is_expected = path.name.endswith(".expected.json")
        stem = path.name.removesuffix(".json").removesuffix(".expected")
        other = path.with_name(stem + (".json" if is_expected else ".expected.json"))
        if not other.exists():
            yield Fault(f"{path}:1", f"the other half of the pair is missing; write {other}")
        if is_expected:
            for entry in _expected(path):
                if FILL_IN in entry:
                    yield Fault(f"{path}:1", f"fill in: {entry[FILL_IN]}")


def payload_folder(catalog: Path) -> Path:
    """The folder of a catalog's payload pairs: tests/payloads for the built-in one, else beside the catalog's own."""
    tests = Path("tests/payloads")
    return tests if tests.is_dir() and catalog.resolve().parent == Path.cwd() else catalog.parent / "payloads"


def slug(name: str) -> str:
    """An event type's name as it stands in file names."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _home(package: str) -> Path:
    return Path(place_of_catalog(package).rpartition(":")[0]).parent


def _expected(path: Path) -> list[dict[str, object]]:
    try:
        expected = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return [{FILL_IN: "this is not JSON"}]
    return [entry for entry in (expected if isinstance(expected, list) else [expected]) if isinstance(entry, dict)]
