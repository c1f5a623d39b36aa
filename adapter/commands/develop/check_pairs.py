"""Compares the payload pairs of a catalog: what each body is read as with what its expected file says, field by field.

`<kind>/<event>__<case>.json` is a body as that CDP posts it, `<event>__<case>.expected.json` all that is read from it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from adapter.commands.develop.faults import Fault
from adapter.commands.develop.places import place_of, place_of_catalog
from adapter.commands.develop.read import find_source, to_plain
from adapter.commands.develop.spellings import slug
from adapter.sources import SOURCES
from freshgate.errors import CatalogError, RequestError, SettingsError
from freshgate.events import Event, Ignored, Verdict
from freshgate.settings import Settings

FILL_IN = "fill in"
# The bodies arrive then, for those that name no time: 2026-09-21T14:14:00Z.
RECEIVED_AT = 1_790_000_040_000
COMPUTED_ID = re.compile(r"h-[0-9a-f]{32}")
EXPECTED = ".expected.json"
# Members of an event that are always compared, or that are the request's own; others are left out where they are empty.
COMPARED = {"name", "message_id", "occurred_at", "user_id", "anonymous_id", "previous_id", "email", "fields"}
COMPARED |= {"unreadable", "clamped", "source", "id_space", "received_at"}
RARE = tuple(name for name in Event.__struct_fields__ if name not in COMPARED)


def pair_faults(catalog: ModuleType, folder: Path, settings: Settings) -> Iterator[Fault]:
    """Event types without a pair, halves of pairs, pairs to be filled in, files that nobody compares, and differences.

    A folder in `folder` has the name of a source in the settings, or of a kind.
    """
    yield from _missing_pairs(catalog, folder)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.parent.parent != folder or not path.name.endswith(".json"):
            if ".expected." in path.name:
                yield Fault(
                    f"{path}:1", f"nobody compares this file; name it {folder}/<kind>/<event>__<case>{EXPECTED}"
                )
            continue
        stem = path.name.removesuffix(".json").removesuffix(".expected")
        is_expected = path.name.endswith(EXPECTED)
        other = path.with_name(stem + (".json" if is_expected else EXPECTED))
        if not other.exists():
            yield Fault(f"{path}:1", f"the other half of the pair is missing; write {other}")
        if is_expected:
            advice = [str(entry[FILL_IN]) for entry in _entries(path) if FILL_IN in entry]
            yield from (Fault(f"{path}:1", f"fill in: {text}") for text in advice)
            if other.exists() and not advice:
                yield from _compare(catalog, path, other, settings)


def count_pairs(folder: Path) -> int:
    return len([*folder.glob(f"*/*{EXPECTED}")])


def _missing_pairs(catalog: ModuleType, folder: Path) -> Iterator[Fault]:
    package = catalog.__name__
    home = Path(place_of_catalog(package).rpartition(":")[0]).parent
    for event in catalog.EVENTS:
        # What a catalog takes over from another one has its pairs there.
        if not Path(place_of(event, package)).is_relative_to(home):
            continue
        for kind, spelling in event.sources.items():
            stem = folder / kind / f"{slug(event.name)}__"
            expected = [entry for path in stem.parent.glob(f"{stem.name}*{EXPECTED}") for entry in _entries(path)]
            # Which audience it is stands in the URL, so no body says it.
            if "audience" in spelling.when:
                continue
            if not any(entry.get("name") == event.name or FILL_IN in entry for entry in expected):
                where = place_of(event, package, "sources", kind)
                yield Fault(where, f"{event.name} from {kind}: no payload pair; write {stem}full.json")


def _compare(catalog: ModuleType, path: Path, body: Path, settings: Settings) -> Iterator[Fault]:
    entries = _entries(path)
    try:
        source = find_source(settings, path.parent.name, catalog.EVENTS)
        verdicts = [as_expected(verdict) for verdict in source.read(body.read_bytes(), RECEIVED_AT)]
    except SettingsError:
        known = ", ".join(sorted({*SOURCES, *settings.sources}))
        yield Fault(f"{path}:1", f"nobody compares this file: no source is called {path.parent.name!r}; known: {known}")
        return
    except CatalogError:
        return  # a fault of the event types, which is reported there
    except RequestError as error:
        yield Fault(f"{body}:1", f"the whole body is refused: {error.reason}")
        return
    if len(verdicts) != len(entries):
        text = f"{len(entries)} verdicts are expected, and {len(verdicts)} are read; compare: {_read_command(body)}"
        yield Fault(f"{path}:1", text)
        return
    for entry, verdict in zip(entries, verdicts, strict=True):
        for name, text in _differences(entry, verdict):
            yield Fault(f"{path}:{_line_of(path, name)}", text)


def _differences(expected: Mapping[str, Any], read: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(member, what differs) for each member of a verdict, and of its fields."""
    head = read.get("name") or read["verdict"]
    for name in {**read, **expected}:
        if name == "fields" and isinstance(expected.get(name), dict) and isinstance(read.get(name), dict):
            yield from _differences({"name": head, **expected[name]}, {"name": head, **read[name]})
        elif name not in expected:
            yield name, f"{head}: {name} is missing; what is read is {_text(read[name])}"
        elif name not in read:
            yield name, f"{head}: {name} is {_text(expected[name])} here, and is not read"
        elif expected[name] != read[name]:
            yield name, f"{head}: {name} is {_text(expected[name])} here, and is read as {_text(read[name])}"


def as_expected(verdict: Verdict) -> dict[str, Any]:
    """A verdict in the format of the expected files."""
    if isinstance(verdict, Event):
        return {
            "verdict": "event",
            "name": verdict.name,
            "message_id": "h-*" if COMPUTED_ID.fullmatch(verdict.message_id) else verdict.message_id,
            "occurred_at": verdict.occurred_at,
            "user_id": verdict.user_id,
            "anonymous_id": verdict.anonymous_id,
            "previous_id": verdict.previous_id,
            "email": verdict.email,
            "fields": {name: to_plain(value) for name, value in verdict.fields.items()},
            "unreadable": sorted(verdict.unreadable),
            "clamped": verdict.clamped,
            # What an event seldom has is expected where it has it.
            **{name: sorted(value) for name in RARE if (value := getattr(verdict, name))},
        }
    if isinstance(verdict, Ignored):
        return {"verdict": "ignored", "what": verdict.what}
    return {"verdict": "refused", "reason": verdict.reason}


def payload_folder(catalog: Path) -> Path:
    """The folder of a catalog's payload pairs: tests/payloads for the built-in one, else beside the catalog's own."""
    tests = Path("tests/payloads")
    return tests if tests.is_dir() and catalog.resolve().parent == Path.cwd() else catalog.parent / "payloads"


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        expected = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return [{FILL_IN: "this is not JSON"}]
    return [entry for entry in (expected if isinstance(expected, list) else [expected]) if isinstance(entry, dict)]


def _line_of(path: Path, name: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((number for number, line in enumerate(lines, 1) if f'"{name}"' in line), 1)


def _read_command(body: Path) -> str:
    return f"python -m adapter read {body} --source {body.parent.name}"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
