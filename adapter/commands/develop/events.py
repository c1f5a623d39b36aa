"""`python -m adapter events`: the catalog's event types, and how each kind of source spells them.

docs/EVENTS.md holds this table of the shipped catalog; a test compares the two.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from adapter.sources.reading.paths import alternatives
from freshgate.catalogs import events_of
from freshgate.declare import EventType, From
from freshgate.local_settings import load_local_settings

HELP = "list the event types of the catalog, and how each CDP spells them"
EPILOG = """examples:
  python -m adapter events
  python -m adapter events --json | jq '.["Order Completed"]'

Kinds tracking, rudderstack, hightouch and customerio spell as segment does."""
# Where a member says only that another one is the name.
TELLS_NOTHING = {("type", "track"), ("event_type", "custom_event"), ("object_type", "email")}


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "events", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    events = events_of(load_local_settings())
    if options.json:
        found = {event.name: {kind: one.when for kind, one in event.sources.items()} for event in events}
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(table(events)))
    return 0


def table(events: Iterable[EventType]) -> list[str]:
    """The lines of a Markdown table: a row an event type, a column a kind of source."""
    events = list(events)
    kinds = list(dict.fromkeys(kind for event in events for kind in event.sources))
    lines = [f"| event type | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for event in events:
        cells = (spelled(event.sources[kind]) if kind in event.sources else "–" for kind in kinds)
        lines.append(f"| {event.name} | {' | '.join(cells)} |")
    return lines


def spelled(spelling: From) -> str:
    """`Order Completed`, or `commerce_event` with `product_action.action` `purchase`; commas separate alternatives."""
    return " with ".join(_telling(spelling.when))


def _telling(when: Mapping[str, str | tuple[str, ...]]) -> Iterator[str]:
    telling = {path: value for path, value in when.items() if (path, value) not in TELLS_NOTHING} or when
    for path, value in telling.items():
        where = path.removeprefix("data.")
        named = f"`{where}` " if "." in where else ""
        yield named + ", ".join(f"`{one}`" for one in alternatives(value))
