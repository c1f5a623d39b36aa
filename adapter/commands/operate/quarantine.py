"""`python -m adapter quarantine`: lists, replays and drops elements on which our own code failed.

`adapter/ingest/quarantine.py` keeps them; a replay goes through the receiver, as if the element had just arrived.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from adapter.app import build_receiver
from adapter.ingest import quarantine
from adapter.ingest.quarantine import QuarantinedElement, short_id
from adapter.ingest.receive import Receiver
from adapter.sources import configure_sources
from adapter.sources.base import Source
from freshgate.errors import RequestError
from freshgate.local_settings import connect_local_store, load_local_settings
from freshgate.settings import Settings
from freshgate.settings_file import require_pii_key
from freshgate.state.operations import count_operation
from freshgate.telemetry import logs

HELP = "list, show, replay or drop elements on which our own code failed"
EPILOG = """examples:
  python -m adapter quarantine list
  python -m adapter quarantine show 5f0c81d2 | python -m adapter read - --source shop
  python -m adapter quarantine replay                  (all of them, the oldest first)
  python -m adapter quarantine drop --only 5f0c81d2

A thousand are kept (or those of one request), for 30 days; beyond that, requests with such elements are
answered 503 and come again. A replayed element is recorded with the time of its event, so a newer state
stays, and mails leave through the gate only. An element that still cannot be read, or is not mapped, stays listed.
The exit code is 1 if an element stays, or if no element has that name."""
ACTIONS = {
    "list": "print a line for each: its name, source, arrival and size",
    "show": "print one element as the CDP sent it; this is personal data",
    "replay": "read and record them once more",
    "drop": "delete them",
}


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "quarantine", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    parsers = {action: actions.add_parser(action, help=text, description=text) for action, text in ACTIONS.items()}
    parsers["show"].add_argument("only", metavar="NAME", help="as `list` names it")
    parsers["replay"].add_argument("--only", metavar="NAME", help="as `list` names it; all of them if left out")
    choice = parsers["drop"].add_mutually_exclusive_group(required=True)
    choice.add_argument("--only", metavar="NAME", help="as `list` names it")
    choice.add_argument("--all", action="store_true", help="all of them")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = load_local_settings()
    logs.configure("error", json=False)
    client = connect_local_store(settings)
    only = getattr(options, "only", None)
    elements = [
        (entry, element) for entry, element in quarantine.list_elements(client) if only in (None, short_id(entry))
    ]
    if only and not elements:
        print(f"no element in the quarantine is called {only}", file=sys.stderr)
        return 1
    if options.action == "show":
        raw = elements[0][1].raw
        if sys.stdout.isatty():
            print(raw.decode("utf-8", "backslashreplace"))
        else:
            # For a file or a program, byte for byte.
            sys.stdout.buffer.write(raw + b"\n")
        return 0
    if options.action == "replay":
        return _replay_all(settings, client, elements)
    for entry, element in elements:
        if options.action == "drop":
            quarantine.remove_element(client, entry)
        print(_format_element(entry, element))
    print(f"{len(elements)} " + ("dropped" if options.action == "drop" else "in the quarantine"))
    return 0


def _replay_all(settings: Settings, client: Any, elements: Sequence[tuple[bytes, QuarantinedElement]]) -> int:
    require_pii_key(settings)
    sources, receiver = configure_sources(settings), build_receiver(settings, client)
    remaining = 0
    for name in {element.source for _, element in elements} & sources.keys():
        # What withdraws a mail that waits may be the last of them.
        receiver.recorder.note_gap(sources[name].settings.id_space)
    for entry, element in elements:
        reason = _replay_element(receiver, sources, element)
        if reason:
            remaining += 1
        else:
            quarantine.remove_element(client, entry)
        print(_format_element(entry, element) + (f"  stays: {reason}" if reason else "  recorded"))
    if len(elements) > remaining:
        count_operation(client, "quarantine_replay")
    print(f"{len(elements) - remaining} recorded" + (f"; {remaining} stay" if remaining else ""))
    return 1 if remaining else 0


def _replay_element(receiver: Receiver, sources: Mapping[str, Source], element: QuarantinedElement) -> str:
    """Why the element stays in the quarantine; empty if it was recorded."""
    source = sources.get(element.source)
    if source is None:
        return f"the settings have no source {element.source!r}"
    try:
        answer = receiver.replay_element(source, element)
    except RequestError as error:
        return error.reason
    if answer.refusals:
        return f"refused again: {answer.refusals[0]['reason']}"
    return "" if answer.accepted or answer.duplicate else "ignored: no event type is mapped to it"


def _format_element(entry: bytes, element: QuarantinedElement) -> str:
    received = datetime.fromtimestamp(element.received_at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{short_id(entry)}  {element.source}  {received} UTC  {len(element.raw)} bytes"
