"""`python -m adapter events`: a table of the catalog's event types, and how each kind of source spells them.

docs/EVENTS.md has this table of the shipped catalog; a test compares the two.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from adapter.sources.reading.paths import alternatives
from freshgate.catalogs import load_event_types
from freshgate.declare import EventType, From
from freshgate.local_settings import load_local_settings

HELP = "list the event types of the catalog, and how each CDP spells them"
EPILOG = """examples:
  python -m adapter events
  python -m adapter events --json | jq '.["Order Completed"]'

Kinds tracking, rudderstack, hightouch and customerio spell as segment does."""
# Conditions that only say in which other member the name stands.
UNSPECIFIC = {("type", "track"), ("event_type", "custom_event"), ("object_type", "email")}


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "events", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    events = load_event_types(load_local_settings())
    if options.json:
        spellings = {event.name: {kind: spelling.when for kind, spelling in event.sources.items()} for event in events}
        print(json.dumps(spellings, indent=2))
    else:
        print("\n".join(table(events)))
    return 0


def table(events: Iterable[EventType]) -> list[str]:
    """The lines of a Markdown table, with a row for each event type and a column for each kind of source."""
    events = list(events)
    kinds = list(dict.fromkeys(kind for event in events for kind in event.sources))
    lines = [f"| event type | {' | '.join(kinds)} |", "|---" * (len(kinds) + 1) + "|"]
    for event in events:
        cells = (format_spelling(event.sources[kind]) if kind in event.sources else "–" for kind in kinds)
        lines.append(f"| {event.name} | {' | '.join(cells)} |")
    return lines


def format_spelling(spelling: From) -> str:
    """`Order Completed`, or `commerce_event` with `product_action.action` `purchase`; commas separate alternatives."""
    return " with ".join(_format_conditions(spelling.when))


def _format_conditions(when: Mapping[str, str | tuple[str, ...]]) -> Iterator[str]:
    specific = {path: value for path, value in when.items() if (path, value) not in UNSPECIFIC}
    for path, value in (specific or when).items():
        member = path.removeprefix("data.")
        prefix = f"`{member}` " if "." in member else ""
        yield prefix + ", ".join(f"`{name}`" for name in alternatives(value))
