"""`python -m adapter check`: checks the catalog, and prints each fault with the file and line to correct.

`check_events.py`, `check_triggers.py`, `check_tables.py`, `check_templates.py` and `check_pairs.py` find the faults;
`places.py` their lines.
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

import freshgate
from adapter.commands.develop.check_events import event_faults
from adapter.commands.develop.check_pairs import count_pairs, pair_faults, payload_folder
from adapter.commands.develop.check_tables import table_faults, unlisted
from adapter.commands.develop.check_templates import template_faults
from adapter.commands.develop.check_triggers import trigger_faults
from adapter.commands.develop.check_types import type_faults
from adapter.commands.develop.faults import Fault
from adapter.commands.develop.places import files_of, place_of_catalog, short_path
from adapter.commands.terminal import Paint
from freshgate.catalogs import load_event_types, load_triggers
from freshgate.errors import CatalogError
from freshgate.local_settings import load_local_settings
from freshgate.settings import Settings

HELP = "check the catalog: paths, spellings, triggers, template data, payload pairs"
# What `new` writes where a developer has to write something.
PLACEHOLDER = "FILL IN"
EPILOG = """examples:
  python -m adapter check
  python -m adapter check --catalog myshop.catalog

Prints a line for each fault: FILE:LINE, what is wrong and what to write. The exit code is 1 if there is one. Payload
pairs are read and compared: those in the folder that --payloads names, else in tests/payloads or in a folder `payloads`
beside the catalog's. `withdrawn`, `compose` and `starts` of each trigger run on made-up states."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "check", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--catalog", metavar="PACKAGE", help="a catalog other than the one in the settings")
    parser.add_argument("--payloads", type=Path, metavar="DIR", help="the folder of payload pairs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = load_local_settings()
    name = options.catalog or settings.catalog
    faults = list(find_faults(name, settings, options.payloads))
    paint = Paint(sys.stdout)
    for fault in faults:
        print(f"{paint.bold(fault.place)}: {paint.bad(fault.text)}")
    if faults:
        print(f"{len(faults)} fault{'s' * (len(faults) > 1)} in catalog {name}", file=sys.stderr)
        return 1
    catalog = import_module(name)
    counts = f"{len(catalog.EVENTS)} event types, {len(catalog.TRIGGERS)} triggers"
    pairs = count_pairs(_folder(name, options.payloads))
    print(paint.good(f"catalog {name}: {counts}, {pairs} payload pairs, no fault"))
    return 0


def find_faults(name: str, settings: Settings, payloads: Path | None = None) -> Iterator[Fault]:
    """All faults of a catalog, each once. A catalog that cannot be imported has that one fault."""
    catalog = _import_catalog(name)
    if isinstance(catalog, Fault):
        yield catalog
        return
    # Dicts, which drop repetitions and keep the order.
    faults = dict.fromkeys(table_faults(catalog)) or dict.fromkeys(type_faults(catalog))
    # The other checks rely on the types.
    if not faults:
        faults |= dict.fromkeys(event_faults(catalog))
        faults |= dict.fromkeys(trigger_faults(catalog, settings))
        faults |= dict.fromkeys(unlisted(catalog))
        faults |= dict.fromkeys(template_faults(catalog))
        folder = _folder(name, payloads)
        if payloads or folder.is_dir():
            faults |= dict.fromkeys(pair_faults(catalog, folder, settings))
    faults |= dict.fromkeys(_placeholders(name))
    yield from faults
    if not faults:
        yield from _start_faults(catalog, name, settings)


def _folder(name: str, payloads: Path | None) -> Path:
    return payloads or payload_folder(Path(place_of_catalog(name).rpartition(":")[0]).parent)


def _import_catalog(name: str) -> ModuleType | Fault:
    try:
        catalog = import_module(name)
    except Exception as error:  # Whatever fails during the import is a fault of the catalog.
        if isinstance(error, SyntaxError) and error.filename:
            return Fault(f"{short_path(error.filename)}:{error.lineno or 1}", f"cannot be imported: {error.msg}")
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_code(frame.filename)]
        # What the catalog calls may raise, too: its own line is the one to correct.
        own = [frame for frame in frames if not _is_freshgate(frame.filename)] or frames
        place = f"{short_path(own[-1].filename)}:{own[-1].lineno}" if own else name
        return Fault(place, f"cannot be imported: {type(error).__name__}: {error}")
    for table in ("EVENTS", "TRIGGERS"):
        if not isinstance(getattr(catalog, table, None), tuple):
            return Fault(place_of_catalog(name), f"the catalog has no tuple {table}")
    return catalog


def _is_code(file: str) -> bool:
    return not file.startswith("<") and Path(file) != Path(__file__) and "importlib" not in Path(file).parts


def _is_freshgate(file: str) -> bool:
    return Path(file).is_relative_to(Path(freshgate.__file__).parent)


def _placeholders(name: str) -> Iterator[Fault]:
    """What `new` left for the developer to write."""
    for file in sorted(files_of(name)):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if PLACEHOLDER in line:
                yield Fault(f"{file}:{number}", f"fill in:{line.partition(PLACEHOLDER)[2].lstrip(':').rstrip()}")


def _start_faults(catalog: ModuleType, name: str, settings: Settings) -> Iterator[Fault]:
    """What would stop the receiver's start, with the error that it would print."""
    if name == settings.catalog:
        try:
            load_event_types(settings)
            load_triggers(settings)
        except CatalogError as error:
            yield Fault(place_of_catalog(catalog.__name__), str(error))
