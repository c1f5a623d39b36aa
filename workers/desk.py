"""The operator's desk: what is unknown or dead, and what to do about it; and the switch that holds mails back.

`python -m workers unknown|dead|hold|release` call it. Nothing here passes the gate by.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from adapter.errors import SettingsError
from adapter.settings import Settings
from adapter.state import keys
from adapter.state.store import connect, fcall
from adapter.state.view import parse_claim

_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def add_commands(commands: Any) -> None:
    """The desk's part of `python -m workers --help`."""
    unknown = commands.add_parser("unknown", help="sends of which nobody knows whether the ESP has them")
    unknown.add_argument("action", choices=["list", "resend", "close"], nargs="?", default="list")
    unknown.add_argument("--send", help="only this send id")
    dead = commands.add_parser("dead", help="sends that gave up")
    dead.add_argument("action", choices=["list", "replay"], nargs="?", default="list")
    dead.add_argument("--send", help="only this send id")
    dead.add_argument("--max-age", default="24h", help="how old a replayed mail may be; every other rule still applies")
    for name, text in (("hold", "send nothing until released; nothing is lost"), ("release", "send again")):
        one = commands.add_parser(name, help=text)
        one.add_argument("trigger", nargs="?", default="*", help="one trigger; all of them if left out")


def run(settings: Settings, chosen: argparse.Namespace) -> int:
    client = connect(settings.redis_url, timeout_s=5.0)
    if chosen.command == "hold":
        client.sadd(keys.HOLD, chosen.trigger)
        print(f"held: {chosen.trigger}")
        return 0
    if chosen.command == "release":
        client.srem(keys.HOLD, chosen.trigger)
        print(f"released: {chosen.trigger}")
        return 0
    max_age = _duration(chosen.max_age) if chosen.command == "dead" else 0
    count = 0
    for index, entry, at in list(_listed(client, chosen.command)):
        owner, member, field = entry.split(" ")
        send = field.rpartition(":")[2]
        if chosen.send and send != chosen.send:
            continue
        count += 1
        trigger = keys.parse_member(member)[0]
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at / 1000))
        print(f"{send}  {trigger}  {when}  {owner.rpartition(':')[2]}")
        if chosen.action in ("resend", "replay"):
            _again(client, owner, member, field, max_age)
        if chosen.action != "list":
            client.zrem(index, entry)
    print(f"{count} {chosen.command}" + ("" if chosen.action == "list" else f", {chosen.action}: done"))
    return 0


def _listed(client: Any, state: str) -> Iterator[tuple[str, str, float]]:
    for timers in keys.all_timers():
        index = timers.replace("timers", state)
        for entry, at in client.zrange(index, 0, -1, withscores=True):
            yield index, bytes(entry).decode(), float(at)


def _again(client: Any, owner: str, member: str, field: str, max_age: int) -> None:
    """The claim steps aside and the timer is due now. The gate decides as ever."""
    raw = client.hget(owner, field)
    if raw:
        claim = parse_claim(field.rpartition(":")[2], bytes(raw).decode())
        client.hset(owner, field, msgspec.structs.replace(claim, state="replay", until=max_age, attempts=0).text())
        client.hincrby(owner, "rev", 1)
    entity_id = keys.parse_member(member)[2]
    fcall(client, "fg1_start", [keys.timers(keys.shard(entity_id))], member, int(time.time() * 1000))


def _duration(text: str) -> int:
    found = re.fullmatch(r"(\d+)([smhd])", text)
    if not found:
        raise SettingsError(f"--max-age {text!r}: write a number and a unit, such as 90m, 24h or 2d")
    return int(found[1]) * _UNITS[found[2]]
