"""Claims due timers under a lease and turns them into jobs. Any number of these may run; none is the leader.

Each goes to the queue of its trigger's account. A lease that runs out returns it: its worker died or its job was lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import redis
from redis.exceptions import RedisError

from freshgate.queue import push, queue_name
from freshgate.routing import Routes
from freshgate.state import keys
from freshgate.state.store import fcall, shops, with_library
from freshgate.telemetry import logs, metrics

log = logs.get(__name__)
_pack = msgspec.msgpack.Encoder().encode

CHUNK = 100
LEASE_MS = 30_000
MAX_SLEEP_S = 0.05
# Beyond this many jobs in an account's queue nothing is claimed for it: a lease that runs out there would look like a
# crash.
MAX_QUEUED = 20
HEARTBEAT_INTERVAL_S = 5.0
SHOPS_INTERVAL_S = 5.0
OUTAGE_MS = 600_000


class Timers:
    """One Redis, the queues of all accounts, all shops. `tick` is one look; `run` looks until told to stop."""

    def __init__(self, client: redis.Redis, routes: Routes, settle_ms: int) -> None:
        self._client = client
        self._routes = routes
        self._settle_ms = settle_ms
        self._shops: list[str] = []
        self._shops_read_at = self._beaten = float("-inf")

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
        """Claims a chunk of each shop and pushes its jobs. Returns the seconds to sleep before the next look."""
        self._beat()
        self._read_shops()
        full = self._full_accounts()
        if len(full) == len(self._routes.accounts):
            return MAX_SLEEP_S
        pauses = [self._tick_shop(shop, self._limits(full)) for shop in self._shops]
        return min([MAX_SLEEP_S, *pauses])

    def _full_accounts(self) -> list[str]:
        pipe = self._client.pipeline(transaction=False)
        for account in self._routes.accounts:
            pipe.llen(f"rq:queue:{queue_name(account)}")
        lengths = pipe.execute()
        return [
            account for account, jobs in zip(self._routes.accounts, lengths, strict=True) if int(jobs) >= MAX_QUEUED
        ]

    def _limits(self, full: list[str]) -> bytes | str:
        """How many timers of which triggers may be claimed: none of an account whose queue is full."""
        if not full:
            return ""
        limits = dict.fromkeys(self._routes.triggers(full), 0)
        if self._routes.accounts[0] in full:
            # Whatever names no trigger goes there.
            limits |= {
                trigger: CHUNK for trigger in self._routes.triggers(self._routes.accounts) if trigger not in limits
            }
            limits["*"] = 0
        return _pack(limits)

    def _tick_shop(self, shop: str, limits: bytes | str) -> float:
        now, next_due, due = with_library(self._client, lambda: self._claim(shop, limits))
        if due:
            self._push(shop, now, due)
        if len(due) >= CHUNK:
            return 0.0
        return MAX_SLEEP_S if next_due is None else max(0.001, (next_due - now) / 1000)

    def _read_shops(self) -> None:
        if time.monotonic() - self._shops_read_at >= SHOPS_INTERVAL_S or not self._shops:
            self._shops = shops(self._client)
            self._shops_read_at = time.monotonic()

    def _claim(self, shop: str, limits: bytes | str) -> tuple[int, int | None, list[tuple[str, int, int]]]:
        now, next_due, *flat = fcall(self._client, "claim_due", keys.shop(shop), "", CHUNK, LEASE_MS, limits)
        due = [(flat[i].decode(), int(float(flat[i + 1])), int(flat[i + 2])) for i in range(0, len(flat), 3)]
        return int(now), int(next_due) if next_due else None, due

    def _push(self, shop: str, now: int, due: list[tuple[str, int, int]]) -> None:
        for _, at, _ in due:
            metrics.TIMER_LATENESS.observe(max(0, now - at) / 1000)
        metrics.TIMERS_CLAIMED.inc(len(due))
        pipe = self._client.pipeline(transaction=True)
        # One that came back may have taken its worker down: it travels alone, its neighbours are unharmed.
        for queue, timers in self._routes.by_queue(timer for timer, _, returned in due if returned).items():
            for timer in timers:
                push(pipe, queue, shop, [(timer, 1)], now)
        for queue, timers in self._routes.by_queue(timer for timer, _, returned in due if not returned).items():
            push(pipe, queue, shop, [(timer, 0) for timer in timers], now)
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
