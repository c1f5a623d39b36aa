"""`python -m adapter why`: why did this person get, or not get, this mail?

Reads the trails that the receiver and the workers leave; prints them oldest first.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

from adapter.settings import Settings
from adapter.state import keys
from adapter.state.merge import resolve
from adapter.state.store import connect
from adapter.state.view import PersonView


def main(settings: Settings, who: str, *, as_json: bool = False) -> int:
    """Print the trail of a user id, anonymous id or address. Returns 1 where nobody by that name is known."""
    client = connect(settings.redis_url, timeout_s=5.0)
    person = find(client, settings, who)
    if person is None:
        print(f"nobody known as {who}: no event of theirs was accepted, or all of it was erased", file=sys.stderr)
        return 1
    entries = trail(client, person)
    if as_json:
        print(json.dumps({"person": person, "trail": entries}, indent=2))
        return 0
    raw: Any = client.hgetall(keys.person(person))
    view = PersonView(person, raw, settings.order_grace)
    print(f"person {person}" + ("" if view.email else " (no address known)"))
    for entry in entries:
        print(_line(entry))
    if not entries:
        print("  no entries on the trail")
    return 0


def find(client: Any, settings: Settings, who: str) -> str | None:
    """The living person behind an id of any id space, or behind an address."""
    candidates = []
    for space in sorted({source.id_space for source in settings.sources.values()} or {"main"}):
        candidates += [keys.person_id(space, who, None), keys.person_id(space, None, who)]
    if "@" in who:
        address = keys.entity("a", keys.address_id(settings.pii_key.encode(), who))
        found = client.hget(address, "m:who")
        if found:
            candidates.append(bytes(found)[22:].decode())
    for candidate in candidates:
        living = resolve(client, candidate)
        if client.exists(keys.person(living)):
            return living
    return None


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
