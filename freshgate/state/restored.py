"""A store that was restored from a copy does not know which mails left after it: it is recognised, and its mail held.

`workers/backup.py` marks what it restores; the timers and the workers recognise every other restored store when they
start. `python -m workers release --sent-until` says what becomes of the mails in doubt, and the gate withholds them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, NamedTuple

import redis

from freshgate.state import keys
from freshgate.state.store import nodes

log = logging.getLogger(__name__)
# Within this time of the last sign of the timers, nothing can be said: a restart takes as long.
OUTAGE_MS = 600_000
FORGOTTEN_MS = 60_000
ALL = "*"


class Restored(NamedTuple):
    """copied_at    when the copy was made, or the last sign of the timers that it holds (ms)
    restored_at  when it was restored, or recognised as such (ms)
    """

    copied_at: int
    restored_at: int


def read_restored(client: redis.Redis) -> Restored | None:
    """Whether this store was restored, and nobody has said yet what becomes of its mail."""
    copied_at, restored_at = client.hmget(keys.RESTORED, "copied_at", "restored_at")
    return Restored(int(copied_at), int(restored_at)) if copied_at and restored_at else None


def beat(client: redis.Redis, now_ms: int, last_ms: int = 0) -> None:
    """The timers' sign of life, every few seconds. Holds all mail if the store has forgotten their last, at `last_ms`:
    then a copy took its place while they ran.
    """
    pipe = client.pipeline(transaction=False)
    pipe.set(keys.HEARTBEAT, now_ms, get=True)
    pipe.delete(keys.STOPPED)
    stored, _ = pipe.execute()
    # A failover may lose some seconds, and hosts' clocks differ by less.
    if stored is not None and int(stored) < last_ms - FORGOTTEN_MS:
        _hold(client, int(stored), now_ms)


def note_stop(client: redis.Redis) -> None:
    """The timers stop as they were told to: what follows is a pause, and no copy was restored in it."""
    client.set(keys.STOPPED, 1)


def hold_if_restored(client: redis.Redis) -> bool:
    """Holds all mail if this store's last sign of the timers is old, though they never stopped and the server is new.

    Then either a copy was restored, or the whole machine was away: an operator knows which. Called before a process
    sends anything.
    """
    pipe = client.pipeline(transaction=False)
    pipe.get(keys.HEARTBEAT)
    pipe.exists(keys.STOPPED)
    last, was_stopped = pipe.execute()
    if last is None or was_stopped:
        return False
    seconds, _ = client.time()
    gap_ms = seconds * 1000 - int(last)
    if gap_ms < OUTAGE_MS or read_restored(client):
        return False
    infos: list[dict[str, Any]] = [node.info("server") for node in nodes(client)]
    if min(int(info["uptime_in_seconds"]) for info in infos) * 1000 >= gap_ms:
        # The store was there all along: only our processes were away, and nothing left meanwhile.
        return False
    _hold(client, int(last), seconds * 1000)
    return True


def _hold(client: redis.Redis, copied_at: int, restored_at: int) -> None:
    client.sadd(keys.HOLD, ALL)
    client.hset(keys.RESTORED, mapping={"copied_at": copied_at, "restored_at": restored_at})
    lost_s = (restored_at - copied_at) // 1000
    log.error("store_restored: %d s are lost and mail is held; `python -m workers release` says what to do", lost_s)


def settle_restored(client: redis.Redis, sent_until: int) -> None:
    """Ends the hold. Mails that were due until `sent_until` (ms; 0 for none) may have left, and never leave."""
    members: Any = client.smembers(keys.HOLD)
    old = [name for name in members if name.startswith(keys.SENT_UNTIL.encode())]
    # In this order: a crash in between leaves the mail held.
    if old:
        client.srem(keys.HOLD, *old)
    if sent_until:
        client.sadd(keys.HOLD, f"{keys.SENT_UNTIL}{sent_until}")
    client.srem(keys.HOLD, ALL)
    client.delete(keys.RESTORED)


def sent_until(held: Iterable[str]) -> int:
    """Until when mails may have left of which the store knows nothing (ms); 0 where it was not restored.

    held  the members of `keys.HOLD`
    """
    return max(
        (int(name.removeprefix(keys.SENT_UNTIL)) for name in held if name.startswith(keys.SENT_UNTIL)), default=0
    )


def holds_of(names: Iterable[bytes]) -> list[str]:
    """What an operator holds, among the members of `keys.HOLD`."""
    return sorted(name.decode() for name in names if not name.startswith(keys.SENT_UNTIL.encode()))
