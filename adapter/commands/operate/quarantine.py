"""`python -m adapter quarantine`: what our own code could not read, and what to do once it can.

`adapter/ingest/quarantine.py` keeps it; the receiver records what is replayed, as if it had just been read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from adapter.app import receiver_of
from adapter.ingest import quarantine
from adapter.ingest.quarantine import QuarantinedElement, short
from adapter.ingest.receive import Receiver
from adapter.sources import configure_sources
from adapter.sources.base import Source
from freshgate.errors import RequestError
from freshgate.local_settings import connect_local_store, load_local_settings
from freshgate.settings import require_pii_key
from freshgate.telemetry import logs

HELP = "elements on which our own code failed: list, show, replay or drop them"
EPILOG = """examples:
  python -m adapter quarantine list
  python -m adapter quarantine show 5f0c81d2 | python -m adapter read - --source shop
  python -m adapter quarantine replay                  (all of them, the oldest first)
  python -m adapter quarantine drop --only 5f0c81d2

The newest thousand are kept, for 30 days. What is replayed is recorded with the time of its event, so a newer state
stays; mails leave through the gate only. What still cannot be read, or is no event that is mapped, stays listed.
The exit code is 1 if anything stays, or nothing has that name."""
ACTIONS = {
    "list": "a line each: its name here, source, arrival and size",
    "show": "print the bytes of one, as the CDP sent them: personal data",
    "replay": "read and record them once more",
    "drop": "throw them away",
}


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "quarantine", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    for action, text in ACTIONS.items():
        chosen = actions.add_parser(action, help=text, description=text)
        if action == "show":
            chosen.add_argument("only", metavar="NAME", help="as `list` names it")
        elif action == "drop":
            which = chosen.add_mutually_exclusive_group(required=True)
            which.add_argument("--only", metavar="NAME", help="as `list` names it")
            which.add_argument("--all", action="store_true", help="every one")
        elif action == "replay":
            chosen.add_argument("--only", metavar="NAME", help="as `list` names it; all of them if left out")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = load_local_settings()
    logs.configure("error", json=False)
    client = connect_local_store(settings)
    only = getattr(options, "only", None)
    found = [(entry, kept) for entry, kept in quarantine.listed(client) if only in (None, short(entry))]
    if only and not found:
        print(f"nothing in the quarantine is called {only}", file=sys.stderr)
        return 1
    if options.action == "show":
        sys.stdout.buffer.write(found[0][1].raw + b"\n")
        return 0
    stays = 0
    if options.action == "replay":
        require_pii_key(settings)
        sources, receiver = configure_sources(settings), receiver_of(settings, client)
    for entry, kept in found:
        line, reason = _line(entry, kept), ""
        if options.action == "replay":
            reason = _replayed(receiver, sources, kept)
            line += f"  stays: {reason}" if reason else "  recorded"
        if options.action in ("replay", "drop") and not reason:
            quarantine.drop(client, entry)
        stays += bool(reason)
        print(line)
    print(f"{len(found)} in the quarantine" if options.action == "list" else _summary(options.action, found, stays))
    return 1 if stays else 0


def _replayed(receiver: Receiver, sources: Mapping[str, Source], kept: QuarantinedElement) -> str:
    """Why it stays; nothing, if it has been recorded."""
    source = sources.get(kept.source)
    if source is None:
        return f"the settings have no source {kept.source!r}"
    try:
        answer = receiver.read_again(source, kept)
    except RequestError as error:
        return error.reason
    if answer.refusals:
        return f"refused again: {answer.refusals[0]['reason']}"
    return "" if answer.accepted or answer.duplicate else "ignored: no event type is mapped to it"


def _line(entry: bytes, kept: QuarantinedElement) -> str:
    came = datetime.fromtimestamp(kept.received_at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{short(entry)}  {kept.source}  {came} UTC  {len(kept.raw)} bytes"


def _summary(action: str, found: list[tuple[bytes, QuarantinedElement]], stays: int) -> str:
    did = "dropped" if action == "drop" else "recorded"
    return f"{len(found) - stays} {did}" + (f"; {stays} stay" if stays else "")
