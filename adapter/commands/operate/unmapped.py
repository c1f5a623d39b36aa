"""`python -m adapter unmapped`: lists what arrived and has no event type yet, with the command that adds one.

`adapter/ingest/unmapped.py` keeps the list; `develop/new.py` writes the event type.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from adapter.commands.develop.spellings import command_for
from adapter.commands.terminal import Paint
from adapter.ingest.unmapped import UnmappedEvent, list_events
from freshgate.catalogs import load_event_types
from freshgate.errors import CatalogError
from freshgate.local_settings import connect_local_store, load_local_settings
from freshgate.settings import Settings
from freshgate.state import keys

HELP = "list events that arrived and have no event type: name, source, count, last seen, shape of a sample"
EPILOG = """examples:
  python -m adapter unmapped
  python -m adapter unmapped --json | jq '.[].name'
  python -m adapter unmapped --forget        (the counts start at 0)

The shape has keys and types, never a value. Counts may lag behind by a minute. At most 500 names are kept; names that
did not arrive for a day make room for others."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "unmapped", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.add_argument("--forget", action="store_true", help="empty the list instead")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = load_local_settings()
    client = connect_local_store(settings)
    if options.forget:
        client.delete(keys.UNMAPPED)
        return 0
    events = list_events(client)
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(events)).decode())
        return 0
    if not events:
        print("nothing: all events that arrived have an event type in the catalog", file=sys.stderr)
    paint = Paint(sys.stdout)
    existing: set[str] = set()
    # The list helps to mend a catalog that cannot be loaded, too.
    with suppress(CatalogError):
        existing = {event_type.name for event_type in load_event_types(settings)}
    for event in events:
        print(_format_event(event, settings, existing, paint))
    return 0


def _format_event(event: UnmappedEvent, settings: Settings, existing: Collection[str], paint: Paint) -> str:
    last_seen = datetime.fromtimestamp(event.last_seen / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    lines = [f"{paint.bold(event.name)}   {event.source}, {event.count} times, last at {last_seen} UTC"]
    if event.shape is None:
        lines.append(paint.dim("  no sample was kept"))
    else:
        lines += ["  " + line for line in json.dumps(event.shape, indent=2, ensure_ascii=False).splitlines()]
    kind = settings.sources[event.source].kind if event.source in settings.sources else event.source
    lines.append(paint.dim(f"  {command_for(event.name, kind, existing)}"))
    return "\n".join(lines)
