"""The operator's view of suppressions: which addresses get no mail and why; adding, lifting and importing them.

`python -m workers suppressions` calls it. An address is stored as its hash only, so `list` shows hashes.
"""

from __future__ import annotations

import argparse
import getpass
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from freshgate.catalogs import load_triggers
from freshgate.clock import now_ms
from freshgate.errors import SettingsError
from freshgate.local_settings import connect_local_store
from freshgate.settings import Settings
from freshgate.state import keys
from freshgate.state.store import scan, shops
from freshgate.state.suppressions import KINDS, TOPIC, Change, in_force, write
from workers import suppression_import

HELP = "list, show, add, lift or import the suppressions of addresses"
EPILOG = """examples:
  python -m workers suppressions list
  python -m workers suppressions show ada@example.com
  python -m workers suppressions add ada@example.com --reason "asked by phone"
  python -m workers suppressions lift ada@example.com --kind bounced --reason "mailbox is back"
  python -m workers suppressions import unsubscribed.csv --dry-run

unsubscribed stops marketing mail, topic_NAME that of a topic, bounced and spam stop every mail. A lift holds for what
was known before it: an address that bounces again is suppressed again. Who did it and why stands on the trail of
whoever has the address.

import reads a CSV with a head: `address`, and perhaps `kind`, `reason` and `at` (when it happened, such as
2026-03-01T12:00:00Z; now if left out). A line that cannot be used is named, and then nothing is imported."""
SCAN_COUNT = 1000
ALIASES = ["suppress"]


def add_command(commands: Any) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "suppressions",
        aliases=ALIASES,
        help=HELP,
        description=HELP,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = ["list", "show", "add", "lift", "remove", "import"]
    parser.add_argument("action", choices=actions, nargs="?", default="list", help="remove is another word for lift")
    parser.add_argument(
        "address", nargs="?", default="", metavar="ADDRESS|FILE", help="an email address; for import a CSV file"
    )
    parser.add_argument(
        "--kind", default="unsubscribed", help=f"for add, lift and import: {', '.join(KINDS)} or topic_NAME"
    )
    parser.add_argument("--reason", default="", help="for the trail: why")
    parser.add_argument("--shop", default="main", help="the id_space; main if left out")
    parser.add_argument("--dry-run", action="store_true", help="for import: read and check everything, write nothing")


def run(settings: Settings, chosen: argparse.Namespace) -> int:
    """Do what the command line says; returns the exit code. Raises SettingsError for unknown words, RedisError."""
    kinds = known_kinds(settings)
    if chosen.kind not in kinds:
        raise SettingsError(f"suppressions --kind {chosen.kind}: not known; write one of {', '.join(kinds)}")
    client = connect_local_store(settings)
    known = known_shops(client, settings)
    if chosen.action == "list":
        return _list(client, known)
    if chosen.shop not in known:
        raise SettingsError(f"suppressions --shop {chosen.shop}: no such shop; write one of {', '.join(known)}")
    who = f"operator {getpass.getuser()}"
    if chosen.action == "import":
        if not chosen.address:
            raise SettingsError("suppressions import: name a CSV file")
        source = suppression_import.Source(
            file=Path(chosen.address), kinds=kinds, kind=chosen.kind, reason=chosen.reason, who=who
        )
        return suppression_import.run(client, settings.pii_key.encode(), chosen.shop, source, dry_run=chosen.dry_run)
    if "@" not in chosen.address:
        raise SettingsError(f"suppressions {chosen.action}: name an email address")
    address_id = keys.address_id(settings.pii_key.encode(), chosen.address)
    if chosen.action in ("add", "lift", "remove"):
        write(client, chosen.shop, _change(chosen, address_id, who))
    raw: Any = client.hgetall(keys.address(chosen.shop, address_id))
    lines = _describe(raw)
    print("\n".join(lines) or "not suppressed")
    return 0 if lines or chosen.action != "show" else 1


def known_kinds(settings: Settings) -> tuple[str, ...]:
    """What may be suppressed: of everything, and of each topic that the catalog declares."""
    triggers = load_triggers(settings)
    topics = dict.fromkeys(TOPIC + trigger.topic_name for trigger in triggers if trigger.kind == "marketing")
    return (*KINDS, *topics)


def known_shops(client: Any, settings: Settings) -> list[str]:
    """Those of the settings, whose receiver may not have started yet, and those that were ever made known."""
    return sorted({source.id_space for source in settings.sources.values()} | set(shops(client))) or ["main"]


def _change(chosen: argparse.Namespace, address_id: str, who: str) -> Change:
    is_lift = chosen.action != "add"
    return Change(
        address=address_id,
        kind=chosen.kind,
        at=now_ms(),
        # Each run has a stamp of its own.
        author=f"{who} {time.time_ns()}",
        value=f"{chosen.kind}, by {who}" + (f": {chosen.reason}" if chosen.reason else ""),
        state="suppression lifted" if is_lift else "suppressed by hand",
        lifts=is_lift,
    )


def _list(client: Any, known: Sequence[str]) -> int:
    count = 0
    for shop, record_id, lines in _suppressed(client, known):
        count += 1
        for line in lines:
            print(f"{shop}  {record_id}  {line}")
    print(f"{count} suppressed")
    return 0


def _suppressed(client: Any, known: Sequence[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Shop, address id and lines of each suppressed address; about a thousand keys at a time."""
    for shop in known:
        prefix = keys.address(shop, "")
        for names in scan(client, f"{prefix}*", SCAN_COUNT):
            pipe = client.pipeline(transaction=False)
            for name in names:
                pipe.hgetall(name)
            for name, raw in zip(names, pipe.execute(), strict=True):
                lines = _describe(raw)
                if lines:
                    yield shop, name.decode().removeprefix(prefix), lines


def _describe(raw: Mapping[bytes, bytes]) -> list[str]:
    """A line for each suppression that holds: its kind, since when, who said so."""
    return [
        f"{kind} since {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(mark.at / 1000))} ({mark.value})"
        for kind, mark in in_force(raw).items()
    ]
