"""`python -m adapter unmapped`: what arrived and nobody mapped, ready to become an event type.

`adapter/ingest/unmapped.py` keeps the list; `new.py` makes the event type.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

from adapter.commands.terminal import Paint
from adapter.ingest.unmapped import UnmappedEvent, listed
from freshgate.local_settings import connect_local_store, load_local_settings
from freshgate.settings import Settings
from freshgate.state import keys

HELP = "list what arrived and nobody mapped: name, source, count, last seen, and a sample's shape"
EPILOG = """examples:
  python -m adapter unmapped
  python -m adapter unmapped --json | jq '.[].name'
  python -m adapter unmapped --forget        (start counting anew)

The shape has keys and types, never a value. Counts may lag behind by a minute; at most 500 names are kept, and those
that were not seen for a day make room for others."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "unmapped", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--forget", action="store_true", help="empty the list instead")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = load_local_settings()
    client = connect_local_store(settings)
    if options.forget:
        client.delete(keys.UNMAPPED)
        return 0
    found = listed(client)
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
        return 0
    if not found:
        print("nothing: whatever arrived is an event type of the catalog", file=sys.stderr)
    paint = Paint(sys.stdout)
    for one in found:
        print(_text(one, settings, paint))
    return 0


def _text(one: UnmappedEvent, settings: Settings, paint: Paint) -> str:
    seen = datetime.fromtimestamp(one.last_seen / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    lines = [f"{paint.bold(one.name)}   {one.source}, {one.count} times, last at {seen} UTC"]
    if one.shape is None:
        lines.append(paint.dim("  no sample was kept"))
    else:
        lines += ["  " + line for line in json.dumps(one.shape, indent=2, ensure_ascii=False).splitlines()]
    kind = settings.sources[one.source].kind if one.source in settings.sources else one.source
    # "track / Plan Chosen" is the call and the name that the shop made up.
    name = one.name.rpartition(" / ")[2]
    lines.append(paint.dim(f"  python -m adapter new event {shlex.quote(name)} --from {kind}"))
    return "\n".join(lines)
