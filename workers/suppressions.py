"""The operator's view of suppressions: which addresses get no mail and why; adding and lifting one by hand.

`python -m workers suppressions` calls it. An address is stored as its hash only, so `list` shows hashes.
"""

from __future__ import annotations

import argparse
import getpass
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from freshgate.clock import now_ms
from freshgate.errors import SettingsError
from freshgate.local_settings import connect_local_store
from freshgate.settings import Settings
from freshgate.state import keys
from freshgate.state.records import Record
from freshgate.state.stamps import stamp
from freshgate.state.store import fcall, scan, shops, with_library

HELP = "list, show, add or lift the suppressions of addresses"
EPILOG = """examples:
  python -m workers suppressions list
  python -m workers suppressions show ada@example.com
  python -m workers suppressions add ada@example.com --reason "asked by phone"
  python -m workers suppressions lift ada@example.com --kind bounced --reason "mailbox is back"

unsubscribed stops marketing mail, bounced and spam stop every mail. A lift holds for what was known before it: an
address that bounces again is suppressed again. Who did it and why stands on the trail of whoever has the address."""
KINDS = ("unsubscribed", "bounced", "spam")
SCAN_COUNT = 1000
_pack = msgspec.msgpack.Encoder().encode
_encode = msgspec.json.Encoder().encode


def add_command(commands: Any) -> None:
    """Declares the command."""
    parser = commands.add_parser(
        "suppressions", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["list", "show", "add", "lift"], nargs="?", default="list")
    parser.add_argument("address", nargs="?", default="", help="an email address; not for list")
    parser.add_argument("--kind", choices=KINDS, default="unsubscribed", help="for add and lift")
    parser.add_argument("--reason", default="", help="for the trail: why")
    parser.add_argument("--shop", default="main", help="the id_space; main if left out")


def run(settings: Settings, chosen: argparse.Namespace) -> int:
    """Do what the command line says; returns the exit code. Raises SettingsError for unknown words, RedisError."""
    client = connect_local_store(settings)
    if chosen.action == "list":
        count = 0
        for shop, record_id, lines in _suppressed(client):
            count += 1
            for line in lines:
                print(f"{shop}  {record_id}  {line}")
        print(f"{count} suppressed")
        return 0
    if "@" not in chosen.address:
        raise SettingsError(f"suppressions {chosen.action}: name an email address")
    address_id = keys.address_id(settings.pii_key.encode(), chosen.address)
    if chosen.action in ("add", "lift"):
        _change(client, chosen, address_id)
    raw: Any = client.hgetall(keys.address(chosen.shop, address_id))
    lines = _describe(raw)
    print("\n".join(lines) or "not suppressed")
    return 0 if lines or chosen.action != "show" else 1


def _change(client: Any, chosen: argparse.Namespace, address_id: str) -> None:
    now, who = now_ms(), f"operator {getpass.getuser()}"
    field = f"{'m' if chosen.action == 'add' else 'l'}:{chosen.kind}"
    state = "suppressed by hand" if chosen.action == "add" else "suppression lifted"
    reason = f"{chosen.kind}, by {who}" + (f": {chosen.reason}" if chosen.reason else "")
    body = {
        "address": address_id,
        "field": field,
        # Each run has a stamp of its own.
        "stamp": stamp(now, f"{who} {time.time_ns()}"),
        "value": reason,
        "note": _encode({"t": now, "trigger": "all mail", "state": state, "reason": reason}).decode(),
    }
    with_library(client, lambda: fcall(client, "suppress", keys.shop(chosen.shop), "", _pack(body)))


def _suppressed(client: Any) -> Iterator[tuple[str, str, list[str]]]:
    """Shop, address id and lines of each suppressed address; about a thousand keys at a time."""
    for shop in shops(client):
        prefix = keys.address(shop, "")
        for names in scan(client, f"{prefix}*", SCAN_COUNT):
            pipe = client.pipeline(transaction=False)
            for name in names:
                pipe.hgetall(name)
            for name, raw in zip(names, pipe.execute(), strict=True):
                lines = _describe(raw)
                if lines:
                    yield shop, name.decode().removeprefix(prefix), lines


def _describe(raw: dict[bytes, bytes]) -> list[str]:
    """A line for each suppression that holds: its kind, since when, who said so."""
    record = Record("", {name.decode(): value.decode("utf-8", "replace") for name, value in raw.items()}, "a")
    lines = []
    for kind in KINDS:
        mark = record.register(f"m:{kind}")
        ends = [record.register(f"l:{kind}"), record.register("m:subscribed") if kind == "unsubscribed" else None]
        if mark and not any(end and end.stamp > mark.stamp for end in ends):
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(mark.at / 1000))
            lines.append(f"{kind} since {when} ({mark.value})")
    return lines
