"""The operator's desk: what is unknown or dead, and what to do about it; and the switch that holds mails back.

`python -m workers unknown|dead|hold|release` call it. Nothing here passes the gate by.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from msgspec.structs import replace

from freshgate.catalogs import load_triggers
from freshgate.declare import Trigger
from freshgate.errors import SettingsError
from freshgate.local_settings import connect_local_store
from freshgate.settings import Settings
from freshgate.settings_parsing import duration_ms
from freshgate.state import keys
from freshgate.state.merge import resolve
from freshgate.state.stamps import LENGTH, millis
from freshgate.state.store import fcall
from freshgate.state.views import Claim, parse_claim

HELP = {
    "unknown": "list, resend or close sends that the ESP may or may not have",
    "dead": "list or replay sends that gave up",
    "hold": "send no mail until released; nothing is lost",
    "release": "let held mails go again",
}
EPILOGS = {
    "unknown": """examples:
  python -m workers unknown list
  python -m workers unknown resend --send 3d7a40bded4dbe31799d12b8
  python -m workers unknown close                                  (all of them)

Look at the ESP's activity first: resend what it does not have, close what it has. The gate decides once more.""",
    "dead": """examples:
  python -m workers dead list
  python -m workers dead replay --max-age 3d
  python -m workers dead replay --send 3d7a40bded4dbe31799d12b8

The gate decides on what is replayed. A mail that is too old stays, and its line says which --max-age would send it.""",
    "hold": """examples:
  python -m workers hold                                           (all triggers)
  python -m workers hold abandoned_cart

Mails wait. Those that are older than their max_age when they are released end as stale.""",
    "release": """examples:
  python -m workers release
  python -m workers release abandoned_cart

A hold on all triggers and a hold on one are released one by one; the answer names what is still held.""",
}


def add_commands(commands: Any) -> None:
    """Declares the operator's commands."""
    raw = argparse.RawDescriptionHelpFormatter
    parsers = {
        name: commands.add_parser(name, help=text, description=text, epilog=EPILOGS[name], formatter_class=raw)
        for name, text in HELP.items()
    }
    parsers["unknown"].add_argument("action", choices=["list", "resend", "close"], nargs="?", default="list")
    parsers["dead"].add_argument("action", choices=["list", "replay"], nargs="?", default="list")
    for name in ("unknown", "dead"):
        parsers[name].add_argument("--send", help="only this send id")
    parsers["dead"].add_argument(
        "--max-age",
        default="0s",
        help="how old a replayed mail may be, such as 3d, if that is more than its trigger allows; "
        "every other rule of the gate still applies",
    )
    for name in ("hold", "release"):
        parsers[name].add_argument("trigger", nargs="?", default="*", help="one trigger; all of them if left out")


class Listed(NamedTuple):
    """One send of a list: the list, its entry there and since when (ms); whose it is, its timer and its claim."""

    list_key: str
    entry: str
    since: float
    owner: str
    member: str
    field: str

    @property
    def send(self) -> str:
        return self.field.rpartition(":")[2]

    @property
    def trigger(self) -> str:
        return keys.parse_member(self.member)[0]

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.since / 1000))
        return f"{self.send}  {self.trigger}  {when}  {self.owner.rpartition(':')[2]}"


def run(settings: Settings, chosen: argparse.Namespace, now: int) -> int:
    """Do what the command line says, at `now` (ms); returns the exit code. Raises SettingsError for unknown words."""
    triggers = {trigger.name: trigger for trigger in load_triggers(settings)}
    client = connect_local_store(settings)
    if chosen.command in ("hold", "release"):
        return _switch(client, triggers, chosen.command, chosen.trigger)
    max_age = duration_ms(chosen.max_age, "--max-age") if chosen.command == "dead" else 0
    found = [one for one in _listed(client, chosen.command) if chosen.send in (None, one.send)]
    left = 0
    for one in found:
        kept = _again(client, triggers, one, max_age, now) if chosen.action in ("resend", "replay") else ""
        print(f"{one}  nothing done: {kept}" if kept else str(one))
        left += bool(kept)
        if chosen.action == "close" or (chosen.action != "list" and not kept):
            client.zrem(one.list_key, one.entry)
    if chosen.action == "list":
        print(f"{len(found)} {chosen.command}")
    else:
        print(f"{len(found) - left} {chosen.command}, {chosen.action}: done" + (f"; {left} not" if left else ""))
    return 1 if left or (chosen.send and not found) else 0


def _switch(client: Any, triggers: Mapping[str, Trigger], command: str, name: str) -> int:
    if command == "release":
        # Also of a trigger that the catalog no longer has.
        known = client.srem(keys.HOLD, name)
        still = sorted(bytes(one).decode() for one in client.smembers(keys.HOLD))
        print(f"released: {name}" if known else f"{name} was not held", f"(still held: {', '.join(still) or 'none'})")
        return 0 if known else 1
    if name != "*" and name not in triggers:
        raise SettingsError(f"hold {name}: no such trigger; known: {', '.join(sorted(triggers))}")
    client.sadd(keys.HOLD, name)
    print(f"held: {'all triggers' if name == '*' else name}; mails wait, and leave if still true when released")
    return 0


def _listed(client: Any, state: str) -> Iterator[Listed]:
    for timers in keys.all_timers():
        index = timers.replace("timers", state)
        for raw, since in client.zrange(index, 0, -1, withscores=True):
            entry = bytes(raw).decode()
            # A send id may hold no space, but its trigger's name comes from the catalog.
            owner, member, field = entry.split(" ", 2)
            yield Listed(index, entry, float(since), owner, member, field)


def _again(client: Any, triggers: Mapping[str, Trigger], one: Listed, max_age: int, now: int) -> str:
    """The claim steps aside and the timer is due now; the gate decides as ever. Returns why not, or nothing."""
    trigger = triggers.get(one.trigger)
    if trigger is None:
        return "the catalog has no such trigger"
    _, kind, entity_id = keys.parse_member(one.member)
    if kind == "p":
        # The person may have become another one since, and the claim went along.
        entity_id = resolve(client, entity_id)
    owner = keys.entity(kind, entity_id)
    told = client.hget(owner, f"m:{trigger.about}")
    age = now - millis(bytes(told).decode()) if told else 0
    if age > max(trigger.max_age, max_age):
        return f"{age // 3_600_000} h old; --max-age {age // 86_400_000 + 1}d would allow it"
    version = client.hget(owner, f"m:{trigger.version}") if trigger.version else None
    raw = client.hget(owner, one.field)
    if raw:
        claim = parse_claim(one.send, bytes(raw).decode())
    else:
        # Given up before it was ever claimed.
        claim = Claim(one.send, "dead", "-", 0, now, 0, bytes(version)[:LENGTH].decode() if version else "")
    claim = replace(claim, state="replay", until=0, attempts=0, limit=max_age)
    member = keys.member(one.trigger, kind, entity_id)
    expected = "unknown" if one.list_key.endswith(":unknown") else "dead"
    reply = fcall(client, "fg1_replay", [owner], one.field, expected, claim.text(), member, now)
    state = bytes(reply).decode()
    return "" if state == "1" else f"it is {state} by now"
