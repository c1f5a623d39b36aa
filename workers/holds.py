"""Holds mail back and lets it go again: `python -m workers hold` and `release`, also of a store that was restored.

`commands.py` parses their words; `ledger.py` obeys a hold, and `freshgate/state/restored.py` knows a restored store.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from freshgate.declare import Trigger
from freshgate.errors import SettingsError
from freshgate.settings import Settings
from freshgate.state import keys
from freshgate.state.operations import count_operation
from freshgate.state.restored import ALL, Restored, holds_of, read_restored, settle_restored
from freshgate.state.store import shops

# A held mail is looked at again after this time, so it is due by then.
HELD_FOR_MS = 31_000
NO_TIME = "none"
NOT_RESTORED = "this store was not restored from a copy, or its mail is released already; nothing done"


def run(client: Any, settings: Settings, triggers: Mapping[str, Trigger], chosen: argparse.Namespace) -> int:
    """The exit code of `hold` or `release`. Raises SettingsError for unknown words."""
    restored = read_restored(client)
    if chosen.command == "hold" and chosen.list:
        print(f"held: {_held(client) or 'none'}")
        if restored:
            print(_describe(client, triggers, restored))
        return 0
    if chosen.command == "hold":
        return _hold(client, settings, triggers, chosen.trigger)
    if chosen.trigger != ALL:
        if chosen.sent_until:
            raise SettingsError("--sent-until: for all triggers at once; leave the trigger out")
        return _release(client, chosen.trigger)
    if restored and chosen.sent_until:
        return _release_restored(client, restored, chosen.sent_until)
    if restored is None and not chosen.sent_until:
        return _release(client, ALL)
    print(_describe(client, triggers, restored) if restored else NOT_RESTORED)
    return 1


def _hold(client: Any, settings: Settings, triggers: Mapping[str, Trigger], name: str) -> int:
    accounts = [keys.HELD_ESP + account for account in settings.esps]
    if name != ALL and name not in triggers and name not in accounts:
        raise SettingsError(f"hold {name}: no such trigger; known: {', '.join([*sorted(triggers), *accounts])}")
    if client.sadd(keys.HOLD, name):
        count_operation(client, "hold")
    print(f"held: {_name(name)}; mails wait, and leave if still true when released")
    return 0


def _release(client: Any, name: str) -> int:
    # Also of a trigger that the catalog no longer has.
    known = client.srem(keys.HOLD, name)
    if name.startswith(keys.HELD_ESP):
        # Else the next report would hold the account once more, for the same wave.
        client.delete(keys.FEEDBACK + name.removeprefix(keys.HELD_ESP))
    text = _name(name)
    print(f"released: {text}" if known else f"{text} was not held", f"(still held: {_held(client) or 'none'})")
    if known:
        count_operation(client, "release")
    return 0 if known else 1


def _release_restored(client: Any, restored: Restored, text: str) -> int:
    until = 0 if text == NO_TIME else _parse_time(text)
    if until > restored.restored_at:
        raise SettingsError(
            f"--sent-until: the store was restored at {_format_time(restored.restored_at)}, before that"
        )
    settle_restored(client, until)
    count_operation(client, "release")
    what = (
        f"mails due until {_format_time(until)} end as stale, the others leave" if until else "all leave that are due"
    )
    print(f"released: all triggers; {what} (still held: {_held(client) or 'none'})")
    return 0


def _describe(client: Any, triggers: Mapping[str, Trigger], restored: Restored) -> str:
    """What an operator decides on, and the commands for each way to go on."""
    waiting = waiting_mails(client, triggers)
    counts = ", ".join(f"{count} {name}" for name, count in waiting.items() if count) or "none"
    copied_at, restored_at = _format_time(restored.copied_at), _format_time(restored.restored_at)
    return f"""\
This store was restored at {restored_at}, from what it was at {copied_at}.
It does not know which mails left in between, so all mail is held. Waiting and due: {sum(waiting.values())} ({counts}).
Let the CDPs send the events since {copied_at} once more if they can: they bring back opt-outs and purchases.
Then, if the lost store sent until it was restored; or the time at which it stopped:
  python -m workers release --sent-until {restored_at}
Mails due until then end as stale. If nothing was restored, and the machine was only off:
  python -m workers release --sent-until {NO_TIME}"""


def waiting_mails(client: Any, triggers: Mapping[str, Trigger]) -> dict[str, int]:
    """How many mails of each trigger are due or held; what is being decided on right now is not counted."""
    seconds, _ = client.time()
    names = list(triggers)
    counts = dict.fromkeys(names, 0)
    for shop in shops(client):
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.zcount(keys.timers(shop, name), "-inf", seconds * 1000 + HELD_FOR_MS)
        for name, count in zip(names, pipe.execute(), strict=True):
            counts[name] += count
    return counts


def _parse_time(text: str) -> int:
    """Milliseconds, of a time in UTC. Raises SettingsError."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(
            f"--sent-until {text!r}: write a time in UTC such as 2026-11-30T14:02:00Z, or `none`"
        ) from None
    return int(parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp() * 1000)


def _format_time(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at / 1000))


def _name(trigger: str) -> str:
    return "all triggers" if trigger == ALL else trigger


def _held(client: Any) -> str:
    return ", ".join(_name(name) for name in holds_of(client.smembers(keys.HOLD)))
