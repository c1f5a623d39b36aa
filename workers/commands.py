"""The operator's commands: what needs a look, and what to do about it; and the switch that holds mails back.

`python -m workers unknown|dead|rejected|hold|release` call them. Nothing here passes the gate by, and nothing changes a
send that is in another state by now.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from freshgate.catalogs import load_triggers
from freshgate.declare import Trigger
from freshgate.local_settings import connect_local_store
from freshgate.settings import Settings
from freshgate.settings_parsing import duration_ms
from freshgate.state import keys
from freshgate.state.operations import count_operation
from freshgate.state.records import Claim, parse_claims
from freshgate.state.store import fcall, shops
from workers import holds
from workers.decisions import Records
from workers.gate import version_of
from workers.lookup import Lookup

_pack = msgspec.msgpack.Encoder().encode

HELP = {
    "unknown": "list, show, resend or close sends that the ESP may or may not have",
    "dead": "list, show, replay or close sends that gave up",
    "rejected": "list, show, replay or close sends that the ESP refused for good, such as for a missing template",
    "hold": "send no mail until released; nothing is lost",
    "release": "let held mails go again",
}
# How each list's sends start again.
RESTARTS = {"unknown": "resend", "dead": "replay", "rejected": "replay"}
_MAX_AGE = (
    """The gate decides on what is replayed. A mail that is too old stays; its line says which --max-age sends it."""
)
EPILOGS = {
    "unknown": """examples:
  python -m workers unknown list
  python -m workers unknown show --send 3d7a40bded4dbe31799d12b8
  python -m workers unknown resend --send 3d7a40bded4dbe31799d12b8
  python -m workers unknown close                                  (all of them)

Look at the ESP's activity first: resend what it does not have, close what it has. The gate decides once more.""",
    "dead": f"""examples:
  python -m workers dead list
  python -m workers dead replay --max-age 3d
  python -m workers dead replay --send 3d7a40bded4dbe31799d12b8

{_MAX_AGE}""",
    "rejected": f"""examples:
  python -m workers rejected list
  python -m workers rejected replay                                (once the template is there)
  python -m workers rejected close --send 3d7a40bded4dbe31799d12b8

{_MAX_AGE}""",
    "hold": """examples:
  python -m workers hold                                           (all triggers)
  python -m workers hold abandoned_cart
  python -m workers hold --list

Mails wait. Those that are older than their max_age when they are released end as stale.""",
    "release": """examples:
  python -m workers release
  python -m workers release abandoned_cart

A hold on all triggers and a hold on one are released one by one; the answer names what is still held.

A store that was restored from a copy does not know which mails left after the copy was made, so `release` asks:
  python -m workers release --sent-until 2026-11-30T14:02:00Z      (what was due until then does not leave again)
  python -m workers release --sent-until none                      (everything leaves that is due)""",
}


def add_commands(commands: Any) -> None:
    """Declares the operator's commands."""
    raw = argparse.RawDescriptionHelpFormatter
    parsers = {
        name: commands.add_parser(name, help=text, description=text, epilog=EPILOGS[name], formatter_class=raw)
        for name, text in HELP.items()
    }
    for name in keys.OPERATOR_LISTS:
        actions = ["list", "show", RESTARTS[name], "close"]
        parsers[name].add_argument("action", choices=actions, nargs="?", default="list")
        parsers[name].add_argument("--send", help="only this send id")
        parsers[name].add_argument(
            "--max-age",
            default="0s",
            help="how old the mail may be, such as 3d, if that is more than its trigger allows; "
            "every other rule of the gate still applies",
        )
    for name in ("hold", "release"):
        parsers[name].add_argument(
            "trigger",
            nargs="?",
            default="*",
            help="one trigger, or esp:NAME for an account's marketing mail; all if left out",
        )
    parsers["hold"].add_argument("--list", action="store_true", help="only say what is held")
    parsers["release"].add_argument(
        "--sent-until",
        metavar="TIME",
        default="",
        help="of a restored store: until when the lost one sent, such as 2026-11-30T14:02:00Z, or `none`",
    )


class ListedSend(NamedTuple):
    """One send of a list: its shop and list, its entry there and since when (ms); its record, timer and claim."""

    shop: str
    state: str
    entry: str
    since: float
    owner: str
    timer: str
    field: str
    send: str

    @property
    def trigger(self) -> str:
        return keys.TimerRef.parse(self.timer).trigger

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(self.since / 1000))
        return f"{self.send}  {self.trigger}  {when}  {self.owner.partition(':')[2]}"


def run(settings: Settings, chosen: argparse.Namespace, fixed_now: int | None = None) -> int:
    """Do what the command line says; returns the exit code. Raises SettingsError for unknown words.

    fixed_now  ms, for tests; Redis' clock where it is None
    """
    triggers = {trigger.name: trigger for trigger in load_triggers(settings)}
    client = connect_local_store(settings)
    if chosen.command in ("hold", "release"):
        return holds.run(client, settings, triggers, chosen)
    max_age = duration_ms(chosen.max_age, "--max-age")
    sends = [send for send in _listed_sends(client, chosen.command) if chosen.send in (None, send.send)]
    lookup = Lookup(
        client,
        settings.pii_key.encode(),
        settings.order_grace,
        email_identity=settings.email_identity,
        page_addresses=settings.page_addresses == "any",
    )
    unchanged = 0
    for send in sends:
        refusal = ""
        if chosen.action == "close":
            fcall(client, "close", keys.shop(send.shop), send.state, send.entry)
        elif chosen.action == RESTARTS[chosen.command]:
            refusal = _restart(client, lookup, triggers, send, max_age, fixed_now)
        print(f"{send}  nothing done: {refusal}" if refusal else str(send))
        if chosen.action == "show":
            _show(client, lookup, send)
        unchanged += bool(refusal)
    if chosen.action not in ("list", "show") and len(sends) > unchanged:
        count_operation(client, chosen.action)
    if chosen.action in ("list", "show"):
        print(f"{len(sends)} {chosen.command}")
    else:
        print(
            f"{len(sends) - unchanged} {chosen.command}, {chosen.action}: done"
            + (f"; {unchanged} not" if unchanged else "")
        )
    return 1 if unchanged or (chosen.send and not sends) else 0


def _listed_sends(client: Any, state: str) -> Iterator[ListedSend]:
    for shop in shops(client):
        for raw, since in client.zrange(keys.operator_list(shop, state), 0, -1, withscores=True):
            entry = bytes(raw).decode()
            # A trigger's name comes from the catalog and may hold a space; a record's and a send's id do not.
            owner, _, rest = entry.partition(" ")
            rest, _, send = rest.rpartition(" ")
            timer, _, field = rest.partition(" c:")
            yield ListedSend(shop, state, entry, float(since), owner, timer, f"c:{field}", send)


def _records(lookup: Lookup, send: ListedSend) -> Records:
    """What is known of the send's subject by now, under whatever id."""
    return lookup.read(send.shop, [send.timer])[1][0]


def _claim(client: Any, send: ListedSend) -> Claim | None:
    raw: Any = client.hget(keys.shop(send.shop) + send.owner, send.field)
    claims = parse_claims(bytes(raw).decode(), send.owner) if raw else []
    return next((claim for claim in claims if claim.send_id == send.send), None)


def _show(client: Any, lookup: Lookup, send: ListedSend) -> None:
    """The claim, and what the trail says of the send."""
    claim = _claim(client, send)
    if claim:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(claim.at / 1000))
        print(f"  {claim.state} since {when}, attempts {claim.attempts}")
    for record_id, _ in _records(lookup, send).person.records:
        raw: Any = client.lrange(f"{keys.person(send.shop, record_id)}:dec", 0, -1)
        for line in reversed(raw):
            entry = json.loads(line.split(b"\t", 2)[2])
            if entry.get("send") == send.send:
                reason = entry.get("reason") or entry.get("said") or ""
                print(
                    f"  {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(entry['t'] / 1000))} {entry['state']} {reason}"
                )


def _restart(
    client: Any, lookup: Lookup, triggers: Mapping[str, Trigger], send: ListedSend, max_age: int, fixed_now: int | None
) -> str:
    """The claim steps aside and the timer is due now; the gate decides as ever. Returns why not, or nothing."""
    trigger = triggers.get(send.trigger)
    if trigger is None:
        return "the catalog has no such trigger"
    now, (records,), _ = lookup.read(send.shop, [send.timer], fixed_now)
    mark = records.mark(trigger.about)
    age = now - mark.at if mark else 0
    if age > max(trigger.max_age, max_age):
        return f"{age // 3_600_000} h old; --max-age {age // 86_400_000 + 1}d would allow it"
    # A send that was given up before it was ever claimed has no claim.
    claim = _claim(client, send) or Claim(send.send, "dead", "-", 0, now, 0, version_of(trigger, records))
    body = {
        "owner": send.owner,
        "field": send.field,
        "send": send.send,
        "timer": send.timer,
        "expected": send.state,
        "claim": replace(claim, state="replay", until=0, attempts=0, limit=max_age).text(),
    }
    at = "" if fixed_now is None else fixed_now
    reply = fcall(client, "replay", keys.shop(send.shop), at, _pack(body))
    state = bytes(reply).decode()
    return "" if state == "1" else f"it is {state} by now"
