"""`python -m adapter check`: the whole catalog against itself. A line a fault, with the file and line of the entry.

`check_events.py` and `check_triggers.py` know what can be wrong; `places.py` finds where it stands.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from adapter.commands.develop import check_events, check_triggers
from adapter.commands.develop.faults import Fault
from adapter.commands.develop.places import files_of, place_of_catalog
from adapter.commands.terminal import Paint
from freshgate.catalogs import events_of, triggers_of
from freshgate.errors import CatalogError
from freshgate.local_settings import load_local_settings
from freshgate.settings import Settings

HELP = "check the catalog against itself: paths, spellings, triggers, templates' data, payload pairs"
MARKED = "FILL IN"
EPILOG = """examples:
  python -m adapter check
  python -m adapter check --catalog myshop.catalog

Prints FILE:LINE and the fault, one a line; the exit code is 1 if there is any. Payload pairs are looked for where
--payloads says, else in tests/payloads or in a folder `payloads` beside the catalog's."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "check", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--catalog", metavar="PACKAGE", help="instead of the one that the settings name")
    parser.add_argument("--payloads", type=Path, metavar="DIR", help="the folder of payload pairs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = load_local_settings()
    name = options.catalog or settings.catalog
    faults = list(faults_of(name, settings, options.payloads))
    paint = Paint(sys.stdout)
    for fault in faults:
        print(f"{paint.bold(fault.place)}: {paint.bad(fault.text)}")
    if faults:
        print(f"{len(faults)} fault{'s' * (len(faults) > 1)} in catalog {name}", file=sys.stderr)
        return 1
    catalog = import_module(name)
    print(paint.good(f"catalog {name}: {len(catalog.EVENTS)} event types, {len(catalog.TRIGGERS)} triggers, no fault"))
    return 0


def faults_of(name: str, settings: Settings, payloads: Path | None = None) -> Iterator[Fault]:
    """Every fault of the catalog of that name, each once; those that keep it from being imported come alone."""
    loaded = _import(name)
    if isinstance(loaded, Fault):
        yield loaded
        return
    found = dict.fromkeys(check_events.faults(loaded))
    found |= dict.fromkeys(check_triggers.faults(loaded, settings))
    folder = payloads or check_events.payload_folder(Path(place_of_catalog(name).rpartition(":")[0]).parent)
    if payloads or folder.is_dir():
        found |= dict.fromkeys(check_events.missing_pairs(loaded, folder))
    found |= dict.fromkeys(_unfilled(name))
    yield from found
    if not found:
        yield from _at_start(loaded, name, settings)


def _import(name: str) -> ModuleType | Fault:
    try:
        catalog = import_module(name)
    except Exception as error:  # Whatever a module does while it is imported is a fault of the catalog.
        if isinstance(error, SyntaxError) and error.filename:
            return Fault(f"{error.filename}:{error.lineno or 1}", f"cannot be imported: {error.msg}")
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_code(frame.filename)]
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else name
        return Fault(place, f"cannot be imported: {type(error).__name__}: {error}")
    for table in ("EVENTS", "TRIGGERS"):
        if not isinstance(getattr(catalog, table, None), tuple):
            return Fault(place_of_catalog(name), f"the catalog has no tuple {table}")
    return catalog


def _is_code(file: str) -> bool:
    return not file.startswith("<") and Path(file) != Path(__file__) and "importlib" not in Path(file).parts


def _unfilled(name: str) -> Iterator[Fault]:
    """What `new` left to be written."""
    for file in sorted(files_of(name)):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if MARKED in line:
                yield Fault(f"{file}:{number}", f"fill in:{line.partition(MARKED)[2].lstrip(':').rstrip()}")


def _at_start(catalog: ModuleType, name: str, settings: Settings) -> Iterator[Fault]:
    """What stops the receiver's start, in the words in which it would say so: nothing else was found."""
    if name == settings.catalog:
        try:
            events_of(settings)
            triggers_of(settings)
        except CatalogError as error:
            yield Fault(place_of_catalog(catalog.__name__), str(error))
