"""`python -m adapter why`: shows why a person did or did not get a mail.

Prints the trail that the receiver and the workers leave, oldest first. `trail_lookup.py` finds the person.
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
from freshgate.state.restored import holds_of
from freshgate.state.stored import read_trail_entry
from freshgate.state.views import PersonView
from freshgate.telemetry import logs

HELP = "show why a person did or did not get a mail"
EPILOG = """examples:
  python -m adapter why ada@example.com
  python -m adapter why 1001 --as order
  python -m adapter why 9f86d081884c7d659a2feaa0 --json

An order is shown with the trail of the person who completed it. A send's id is what SendGrid has as the custom argument
freshgate_send; only the lines of that send are shown. It is searched in all trails, which may take a while."""
# Where the second line of an entry begins.
CONTINUATION = "\n" + " " * 28


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "why", help=HELP, description=HELP, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("id", help="a user id, an anonymous id, an address, an order id or a send's id")
    parser.add_argument(
        "--as", dest="only", choices=("person", "order", "send"), help="what the id is, if it may be several"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    settings = load_local_settings()
    logs.configure("warning", json=False)
    return main(settings, options.id, only=options.only, as_json=options.json)


def main(settings: Settings, searched_id: str, *, only: SubjectType | None = None, as_json: bool = False) -> int:
    """Print the trail of a person (by id or address), an order or a send. Returns 1 if nothing is known of the id."""
    client = connect_local_store(settings)
    subject = find_subject(client, settings, searched_id, only)
    if subject is None:
        what = only or "person, order or send"
        print(f"no {what} is known as {searched_id}: it was never accepted, or it was erased", file=sys.stderr)
        return 1
    entries = load_trail(client, subject.shop, subject.person) if subject.person else []
    if subject.send:
        entries = [entry for entry in entries if entry.get("send") == subject.send]
    held = _held_triggers(client)
    if as_json:
        order = {"order": subject.order} if subject.known_as == "order" else {}
        report = {"person": subject.person, "known_as": subject.known_as, **order, "held": held, "trail": entries}
        print(json.dumps(report, indent=2))
        return 0
    for line in _heading(client, settings, searched_id, subject):
        print(line)
    for entry in entries:
        print(_format_event(entry) if entry["kind"] == "event" else _format_decision(entry))
    if held:
        names = "all mails wait" if "*" in held else f"mails of {', '.join(held)} wait"
        print(f"  now: {names} until an operator releases them (freshgate release)")
    if not entries:
        print("  no entries on the trail")
    return 0


def _heading(client: Any, settings: Settings, searched_id: str, subject: TrailSubject) -> list[str]:
    lines = []
    if subject.known_as == "order":
        changes = ", ".join(f"{name} {_format_time(at)}" for name, at in subject.order.items())
        lines.append(f"order {searched_id}: {changes or 'nothing that concerns its mail'}")
    if subject.known_as == "send":
        lines.append(f"send {searched_id}")
    if subject.person is None:
        return [*lines, "it is not known who completed it"]
    records = [(record_id, _fields(client, subject.shop, record_id)) for record_id in _ids(client, subject)]
    view = PersonView(subject.person, records, settings.order_grace)
    return [*lines, f"person {subject.person}" + ("" if view.email else " (no address known)")]


def _fields(client: Any, shop: str, record_id: str) -> dict[str, str]:
    raw: Any = client.hgetall(keys.person(shop, record_id))
    return {name.decode(): value.decode("utf-8", "replace") for name, value in raw.items()}


def _ids(client: Any, subject: TrailSubject) -> list[str]:
    """The records of a person: the root's, then those of its members."""
    if subject.person is None:
        return []
    members: Any = client.hget(keys.person(subject.shop, subject.person), "ids")
    return [subject.person, *(members.decode().split() if members else [])]


def load_trail(client: Any, shop: str, person: str) -> list[dict[str, Any]]:
    """A person's events (verdict, changes to timers) and decisions (reason, compared versions), oldest first."""
    entries = []
    for record_id in _ids(client, TrailSubject(shop, person, "person")):
        key = keys.person(shop, record_id)
        for raw in [*client.lrange(f"{key}:ev", 0, -1), *client.lrange(f"{key}:un", 0, -1)]:
            event = read_trail_entry(bytes(raw))
            entry = {"event": event.name, "source": event.source, "id": event.message_id, "at": event.at, **event.notes}
            entry["timers"] = event.timers
            entries.append({"t": event.received_at, "kind": "event", "verdict": event.verdict, **entry})
        for raw in client.lrange(f"{key}:dec", 0, -1):
            count, _, decision = bytes(raw).decode("utf-8", "replace").split("\t", 2)
            repeated = {"times": int(count)} if count != "1" else {}
            entries.append({"kind": "decision", **json.loads(decision), **repeated})
    return sorted(reversed(entries), key=lambda entry: (int(entry["t"]), entry["kind"] == "decision"))


def _held_triggers(client: Any) -> list[str]:
    """The triggers that an operator holds back; "*" stands for all."""
    return holds_of(client.smembers(keys.HOLD))


def _format_event(entry: dict[str, Any]) -> str:
    text = f"  {_format_time(entry['t'])}  event     {entry['event']} from {entry['source']}: {entry['verdict']}"
    text += f" (occurred {_format_time(entry['at'])}{', id ' + entry['id'] if entry['id'] else ''})"
    for key in ("rejected", "unreadable", "doubtful"):
        if entry.get(key):
            text += f"{CONTINUATION}{key}: {', '.join(entry[key])}"
    for changed in filter(None, entry["timers"].split(";")):
        # A trigger's name may hold a space.
        scope, change, due = changed.rsplit(" ", 2)
        trigger, _, values = scope.partition("#")
        subject = _format_subject(entry.get("subjects", {}).get(values, {}))
        text += f"{CONTINUATION}timer {trigger}{subject} {change}, due {_format_time(int(due))}"
    return text


def _format_decision(entry: dict[str, Any]) -> str:
    trigger = entry["trigger"] + _format_subject(entry.get("subject", {}))
    text = f"  {_format_time(entry['t'])}  decision  {trigger}: {entry['state']}"
    reason = entry.get("reason") or entry.get("said")
    if reason:
        text += f" ({reason})"
    if entry.get("status"):
        text += f", {entry['esp']} answered {entry['status']}"
    if entry.get("due"):
        text += f", again at {_format_time(entry['due'])}"
    if entry.get("times"):
        text += f", {entry['times']} times"
    if entry.get("send"):
        text += f", send {entry['send']}"
    compared = entry.get("compared") or {}
    if compared:
        versions = ", ".join(f"{name} {_format_version(name, value)}" for name, value in compared.items())
        text += f"{CONTINUATION}compared {versions}"
    for field, state, result, at in entry.get("needs", ()):
        since = f" since {_format_time(at)}" if at else ""
        became = "completed from session" if result == "session" else result.replace("_", " ")
        text += f"{CONTINUATION}needs {field}: {state}{since}, {became}"
    for field, ask, result, at, value, status in entry.get("asked", ()):
        answer = f"answered {value}" if result in ("answered", "cached") else f"no answer ({result})"
        reply = f", status {status}" if result == "refused" else ""
        text += f"{CONTINUATION}asked {ask} for {field} at {_format_time(at)}: {answer}{reply}"
    if entry.get("fallback"):
        segment = _format_subject(entry.get("segments", {}))
        text += f"{CONTINUATION}fallback {entry['fallback']}{segment}"
    return text


def _format_subject(values: dict[str, Any]) -> str:
    return f" ({', '.join(f'{name} {value}' for name, value in values.items())})" if values else ""


def _format_version(name: str, value: int) -> str:
    return f"{value // 1000} s" if name == "max_age" else _format_time(value)


def _format_time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
