"""Claims due timers under a lease and turns them into jobs. Any number of these may run; none is the leader.

A lease that runs out returns the timer: then its worker died or its job was lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from random import randrange
from typing import Any

import redis
from redis.exceptions import RedisError

from freshgate.queue import push
from freshgate.state import keys
from freshgate.state.store import fcall, with_library
from freshgate.telemetry import logs, metrics

log = logs.get(__name__)

CHUNK = 100
LEASE_MS = 30_000
MAX_SLEEP_S = 0.05
# Beyond this many jobs in the queue nothing is claimed: a lease that runs out in a queue would look like a crash.
MAX_QUEUED = 20
HEARTBEAT_INTERVAL_S = 5.0
OUTAGE_MS = 600_000


class Timers:
    """One Redis, one queue. `tick` is one look; `run` looks until told to stop."""

    def __init__(self, client: redis.Redis, queue: str, settle_ms: int) -> None:
        self._client = client
        self._queue = queue
        self._settle_ms = settle_ms
        self._timers = keys.all_timers()
        self._beaten = 0.0

    def run(self, should_stop: Callable[[], bool]) -> None:
        self._wait_after_outage(should_stop)
        while not should_stop():
            try:
                pause = self.tick()
            except RedisError as error:
                log.warning("redis_unavailable", error=type(error).__name__)
                pause = 0.5
            if pause:
                time.sleep(pause)

    def tick(self) -> float:
        """Claim a chunk and push its jobs. Returns the seconds that may be slept before the next look."""
        self._beat()
        if int(self._client.llen(f"rq:queue:{self._queue}")) >= MAX_QUEUED:
            return MAX_SLEEP_S
        now, next_due, due = with_library(self._client, self._claim)
        if due:
            self._push(now, due)
        if len(due) >= CHUNK:
            return 0.0
        if next_due is None:
            return MAX_SLEEP_S
        return min(MAX_SLEEP_S, max(0.001, (next_due - now) / 1000))

    def _claim(self) -> tuple[int, int | None, list[tuple[str, int, int]]]:
        # From another shard each time: under a backlog the first ones would take all that is claimed.
        first = randrange(len(self._timers))  # noqa: S311  # fairness, not a secret
        timers = self._timers[first:] + self._timers[:first]
        reply: Any = fcall(self._client, "fg1_claim_due", timers, CHUNK, LEASE_MS)
        flat = reply[2]
        due = [(flat[i].decode(), int(float(flat[i + 1])), int(flat[i + 2])) for i in range(0, len(flat), 3)]
        return int(reply[0]), int(reply[1]) if reply[1] else None, due

    def _push(self, now: int, due: list[tuple[str, int, int]]) -> None:
        for _, at, _ in due:
            metrics.TIMER_LATENESS.observe(max(0, now - at) / 1000)
        metrics.TIMERS_CLAIMED.inc(len(due))
        pipe = self._client.pipeline(transaction=True)
        # One that came back may have taken its worker down: it travels alone, its neighbours are unharmed.
        for member, at, returned in due:
            if returned:
                push(pipe, self._queue, [(member, at, 1)], now)
        fresh = [(member, at, 0) for member, at, returned in due if not returned]
        if fresh:
            push(pipe, self._queue, fresh, now)
        pipe.execute()

    def _beat(self) -> None:
        if time.monotonic() - self._beaten < HEARTBEAT_INTERVAL_S:
            return
        self._beaten = time.monotonic()
        self._client.set(keys.HEARTBEAT, time.time_ns() // 1_000_000)

    def _wait_after_outage(self, should_stop: Callable[[], bool]) -> None:
        """After a long silence events are about to arrive in bulk: due mails wait until they have settled."""
        try:
            last: Any = self._client.get(keys.HEARTBEAT)
        except RedisError:
            return
        if last is None or time.time_ns() // 1_000_000 - int(last) < OUTAGE_MS:
            return
        log.warning("waking_after_outage", waits_s=self._settle_ms / 1000)
        until = time.monotonic() + self._settle_ms / 1000
        while time.monotonic() < until and not should_stop():
            time.sleep(0.1)
