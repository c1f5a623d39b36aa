"""What can be wrong with the event types of a catalog, and with their payload pairs.

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
from adapter.sources.reading.dialect import alternatives
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
        found = list(_of_event(event, package))
        yield from found
        if not found:
            sound.append(event)
    for kind in sorted({kind for event in sound for kind in event.sources if kind in SOURCES}):
        yield from _of_kind(kind, sound, package)


def _of_event(event: EventType, package: str) -> Iterator[Fault]:
    if not any(kind in SOURCES for kind in event.sources):
        where = place_of(event, package, "sources")
        yield Fault(where, f"{event.name}: no source can say it; give it a From in `sources`")
    for kind, spelling in event.sources.items():
        if kind not in SOURCES:
            where = place_of(event, package, "sources", kind)
            yield Fault(where, f"{event.name}: no source kind {kind!r}; known: {', '.join(SOURCES)}")
        elif (read := SOURCES[kind].spelling) != kind:
            where = place_of(event, package, "sources", kind)
            yield Fault(where, f"{event.name}: {kind} reads the spelling of {read!r}; write it there")
        yield from _of_paths(event, kind, spelling, package)
    filled = {name for spelling in event.sources.values() for name in spelling.paths}
    reads = any(spelling.read for spelling in event.sources.values())
    for name, what in event.fields.items():
        where = place_of(event, package, "fields", name)
        if what not in CONVERTERS:
            yield Fault(where, f"{event.name}: field {name!r} is of no kind {what!r}; known: {', '.join(CONVERTERS)}")
        # What a function reads cannot be told without an element.
        if name not in filled and not reads:
            yield Fault(where, f"{event.name}: nobody fills field {name!r}; no source has a path")
    for name in event.profile:
        if name not in event.fields:
            yield Fault(place_of(event, package, "profile"), f"{event.name}: profile keeps {name!r}, which is no field")
    needed = [NEEDS[event.cart]] if event.cart in NEEDS else []
    needed += ["order_id"] if event.order else []
    for name in needed:
        if name not in event.fields:
            effect = f"order={event.order!r}" if name == "order_id" else f"cart={event.cart!r}"
            yield Fault(place_of(event, package), f"{event.name}: {effect} needs the field {name!r}")


def _of_paths(event: EventType, kind: str, spelling: From, package: str) -> Iterator[Fault]:
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


def _of_kind(kind: str, events: Sequence[EventType], package: str) -> Iterator[Fault]:
    """What that kind's own compiler says: of each event type alone, and of all that came before it together."""
    sound: list[EventType] = []
    settings = readable(SourceSettings(kind=kind))
    for event in events:
        try:
            SOURCES[kind].configure("check", settings, [*sound, event])
        except CatalogError as error:
            yield Fault(place_of(event, package, "sources", kind), str(error))
        except SettingsError:
            return  # a kind that cannot be configured without its settings
        else:
            sound.append(event)


def missing_pairs(catalog: ModuleType, folder: Path) -> Iterator[Fault]:
    """Event types without a payload pair for one of their CDPs, halves of pairs, and pairs yet to be filled in.

    `folder` has a folder for each kind of source: <event type>__<case>.json and .expected.json.
    """
    package = catalog.__name__
    for event in catalog.EVENTS:
        # Of a catalog that extends another, the pairs of what it took over stand with that one.
        if not Path(place_of(event, package)).is_relative_to(_home(package)):
            continue
        for kind in event.sources:
            stem = folder / kind / f"{slug(event.name)}__"
            told = [one for path in stem.parent.glob(f"{stem.name}*.expected.json") for one in _expected(path)]
            if not any(one.get("name") == event.name or FILL_IN in one for one in told):
                where = place_of(event, package, "sources", kind)
                yield Fault(where, f"{event.name} from {kind}: no payload pair; write {stem}full.json")
    for path in sorted(folder.glob("*/*.json")):
        is_expected = path.name.endswith(".expected.json")
        stem = path.name.removesuffix(".json").removesuffix(".expected")
        other = path.with_name(stem + (".json" if is_expected else ".expected.json"))
        if not other.exists():
            yield Fault(f"{path}:1", f"the other half of the pair is missing; write {other}")
        if is_expected:
            for one in _expected(path):
                if FILL_IN in one:
                    yield Fault(f"{path}:1", f"fill in: {one[FILL_IN]}")


def payload_folder(catalog: Path) -> Path:
    """Where a catalog's payload pairs stand: ours with the other tests, anybody else's beside the catalog's folder."""
    ours = Path("tests/payloads")
    return ours if ours.is_dir() and catalog.resolve().parent == Path.cwd() else catalog.parent / "payloads"


def slug(name: str) -> str:
    """An event type's name as its files have it."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _home(package: str) -> Path:
    return Path(place_of_catalog(package).rpartition(":")[0]).parent


def _expected(path: Path) -> list[dict[str, object]]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return [{FILL_IN: "this is no JSON"}]
    return [one for one in (told if isinstance(told, list) else [told]) if isinstance(one, dict)]
