"""`python -m adapter why`: why did this person get, or not get, this mail?

Reads the trails that the receiver and the workers leave; prints them oldest first. `find_subject.py` finds whose.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

from adapter.commands.operate.trail_lookup import SubjectType, TrailSubject, find_subject
from freshgate.local_settings import connect_local_store, load_local_settings
from freshgate.settings import Settings
from freshgate.state import keys
from freshgate.state.views import PersonView
from freshgate.telemetry import logs

HELP = "why did a person get, or not get, a mail: the audit trail"
EPILOG = """examples:
  python -m adapter why ada@example.com
  python -m adapter why 1001 --as order
  python -m adapter why 9f86d081884c7d659a2feaa0 --json

An order is shown with the trail of the person who completed it. Of a send (by the id that SendGrid has as the custom
argument freshgate_send) only its own lines are shown; it is looked for in everybody's trail, which may take a while."""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "why", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("id", help="a user id, an anonymous id, an address, an order id or a send's id")
    parser.add_argument("--as", dest="only", choices=("person", "order", "send"), help="where an id is several things")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = load_local_settings()
    logs.configure("warning", json=False)
    return main(settings, options.id, only=options.only, as_json=options.json)


def main(settings: Settings, asked: str, *, only: SubjectType | None = None, as_json: bool = False) -> int:
    """Print the trail behind a person's id or address, an order's id, or a send's. Returns 1 where nothing is known."""
    client = connect_local_store(settings)
    found = find_subject(client, settings, asked, only)
    if found is None:
        what = f"no {only}" if only else "nobody, no order and no send"
        print(f"{what} known as {asked}: nothing of it was accepted, or all of it was erased", file=sys.stderr)
        return 1
    entries = trail(client, found.person) if found.person else []
    if found.send:
        entries = [entry for entry in entries if entry.get("send") == found.send]
    if as_json:
        about = {"order": found.order} if found.known_as == "order" else {}
        told = {"person": found.person, "known_as": found.known_as, **about, "held": _held(client), "trail": entries}
        print(json.dumps(told, indent=2))
        return 0
    for line in _head(client, settings, asked, found):
        print(line)
    for entry in entries:
        print(_line(entry))
    held = _held(client)
    if held:
        names = "all mails wait" if "*" in held else f"mails of {', '.join(held)} wait"
        print(f"  now: {names} until an operator releases them (freshgate release)")
    if not entries:
        print("  no entries on the trail")
    return 0


def _head(client: Any, settings: Settings, asked: str, found: TrailSubject) -> list[str]:
    lines = []
    if found.known_as == "order":
        told = ", ".join(f"{name} {_time(at)}" for name, at in found.order.items())
        lines.append(f"order {asked}: {told or 'nothing that concerns its mail'}")
    if found.known_as == "send":
        lines.append(f"send {asked}")
    if found.person is None:
        return [*lines, "nobody was told to have completed it"]
    raw: Any = client.hgetall(keys.person(found.person))
    view = PersonView(found.person, raw, settings.order_grace)
    return [*lines, f"person {found.person}" + ("" if view.email else " (no address known)")]


def trail(client: Any, person: str) -> list[dict[str, Any]]:
    """Events with their verdict and what they did to timers, decisions with reason and versions; oldest first."""
    key = keys.person(person)
    entries = []
    for raw in client.lrange(f"{key}:ev", 0, -1):
        verdict, timers, told = bytes(raw).decode("utf-8", "replace").split("\t", 2)
        entry = json.loads(told)
        entries.append({"t": entry.pop("rx"), "kind": "event", "verdict": verdict, **entry, "timers": timers})
    for raw in client.lrange(f"{key}:dec", 0, -1):
        entries.append({"kind": "decision", **json.loads(raw)})
    return sorted(reversed(entries), key=lambda entry: int(entry["t"]))


def _held(client: Any) -> list[str]:
    """The triggers that an operator holds back; "*" is all of them."""
    return sorted(bytes(name).decode() for name in client.smembers(keys.HOLD))


def _line(entry: dict[str, Any]) -> str:
    at = _time(entry["t"])
    if entry["kind"] == "event":
        text = f"  {at}  event     {entry['event']} from {entry['source']}: {entry['verdict']}"
        text += f" (occurred {_time(entry['at'])}, id {entry['id']})"
        for key in ("rejected", "unreadable"):
            if entry.get(key):
                text += f"\n{'':28}{key}: {', '.join(entry[key])}"
        for timer in filter(None, entry["timers"].split(";")):
            member, what, due = timer.split(" ")
            text += f"\n{'':28}timer {member.partition('|')[0]} {what}, due {_time(int(due))}"
        return text
    text = f"  {at}  decision  {entry['trigger']}: {entry['state']}"
    said = entry.get("reason") or entry.get("said")
    if said:
        text += f" ({said})"
    if entry.get("status"):
        text += f", {entry['esp']} answered {entry['status']}"
    if entry.get("due"):
        text += f", again at {_time(entry['due'])}"
    if entry.get("send"):
        text += f", send {entry['send']}"
    compared = entry.get("compared") or {}
    if compared:
        text += f"\n{'':28}compared " + ", ".join(f"{name} {_compared(name, ms)}" for name, ms in compared.items())
    return text


def _compared(name: str, value: int) -> str:
    return f"{value // 1000} s" if name == "max_age" else _time(value)


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
