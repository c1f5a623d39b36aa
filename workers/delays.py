"""The delays by which timers that still wait were set, where a trigger's delay was shortened since.

A waiting mail is on time at the due of then. A worker notes its settings' delays at its start; `calls.py` measures by
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import redis
from msgspec.structs import replace

from freshgate.declare import Trigger
from freshgate.state import keys
from workers.decisions import Records
from workers.gate import due_at

# Hosts are updated one by one within an hour, and a receiver of before sets timers by the delay of before.
UPDATED_WITHIN_MS = 3_600_000


class EarlierDelay(NamedTuple):
    """A delay (ms) by which the timers of events that arrived before `until` (ms) may have been set."""

    delay: int
    until: int


class Delays:
    """earlier: the longer delays of before, by trigger."""

    def __init__(self, earlier: Mapping[str, Iterable[EarlierDelay]] | None = None) -> None:
        self.earlier = {name: tuple(delays) for name, delays in (earlier or {}).items()}

    def postponed(self, trigger: Trigger, records: Records, due: int) -> int:
        """How much later (ms) than `due`, which the present delay says, the mail's timer was set for."""
        earlier = self.earlier.get(trigger.name)
        mark = records.mark(trigger.about) if earlier else None
        if not earlier or mark is None:
            return 0
        person = records.person
        arrived = min(mark.at, person.received_at)
        dues = [
            due_at(replace(trigger, delay=delay), person, mark, records.timer.scope)
            for delay, until in earlier
            if arrived < until
        ]
        # A timer that was set by the present delay says so itself; that of a retry comes later than both.
        return max(0, min(records.due or due, max(dues, default=due)) - due)


def note_delays(client: redis.Redis, triggers: Iterable[Trigger], now: int) -> Delays:
    """Notes the delays of the settings in Redis, and returns those of before that still matter. Raises RedisError."""
    noted: Any = client.hgetall(keys.DELAYS)
    earlier: dict[str, list[EarlierDelay]] = {}
    for trigger in triggers:
        text = noted.get(trigger.name.encode(), b"").decode()
        waited = _still_waited_for(text, trigger.delay, now)
        written = " ".join([str(trigger.delay), *(f"{delay}<{until}" for delay, until in waited)])
        if written != text:
            client.hset(keys.DELAYS, trigger.name, written)
        if waited:
            earlier[trigger.name] = waited
    return Delays(earlier)


def _still_waited_for(text: str, delay: int, now: int) -> list[EarlierDelay]:
    """The longer delays of `text`, `delay delay<until …`, each once, of which a timer may still wait."""
    if not text:
        return []
    newest, *older = text.split()
    untils = {int(newest): now + UPDATED_WITHIN_MS}
    for entry in older:
        length, _, until = entry.partition("<")
        untils.setdefault(int(length), int(until))
    return [EarlierDelay(length, until) for length, until in untils.items() if length > delay and until + length > now]
