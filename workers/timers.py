"""Claims due timers under a lease and turns them into jobs. Any number of these may run; none is the leader.

Each goes to the queue of its trigger's account. A lease that runs out returns it: its worker died or its job was lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import redis
from redis.exceptions import RedisError

from freshgate.declare import Trigger
from freshgate.queue import push
from freshgate.routing import Routes
from freshgate.settings import EspSettings
from freshgate.state import keys, restored
from freshgate.state.keys import trigger_of
from freshgate.state.store import fcall, note_outage, shops, with_library
from freshgate.telemetry import logs, metrics
from workers.allowances import Allowances

log = logs.get(__name__)

CHUNK = 100
LEASE_MS = 30_000
# Between two looks, while timers are due that may not be claimed yet, and while none is due. A due that is known is met
# to the millisecond; a timer that is set in the meantime waits for the next look.
MAX_SLEEP_S, MAX_IDLE_SLEEP_S = 0.05, 0.1
HEARTBEAT_INTERVAL_S = 5.0
SHOPS_INTERVAL_S = 5.0


class Timers:
    """One Redis, the queues of all accounts, all shops. `tick` is one look; `run` looks until told to stop.

    triggers, settings  those of the catalog, and of the accounts by their names
    """

    def __init__(
        self,
        client: redis.Redis,
        routes: Routes,
        settle_ms: int,
        triggers: Iterable[Trigger] = (),
        settings: Mapping[str, EspSettings] | None = None,
    ) -> None:
        self._client = client
        self._routes = routes
        self._allowances = Allowances(client, routes, triggers, settings or {})
        self._settle_ms = settle_ms
        self._shops: list[str] = []
        self._shops_read_at = self._beaten = float("-inf")
        self._last_beat_ms = 0
        # Whether the last look claimed something: then the next one claims at once.
        self._is_busy = False

    def run(self, should_stop: Callable[[], bool]) -> None:
        try:
            self._run(should_stop)
        finally:
            # Also after an error that ends the process: it is no sign of another store.
            with suppress(RedisError):
                restored.note_stop(self._client)

    def _run(self, should_stop: Callable[[], bool]) -> None:
        self._hold_if_restored(should_stop)
        self._wait_after_outage(should_stop)
        was_away = False
        while not should_stop():
            try:
                if was_away:
                    # Before anything that was due meanwhile is claimed.
                    note_outage(self._client)
                    was_away = False
                pause = self.tick()
            except RedisError as error:
                log.warning("redis_unavailable", error=type(error).__name__)
                was_away, pause = True, 0.5
            time.sleep(pause)

    def tick(self) -> float:
        """Claims a chunk of each shop and pushes its jobs. Returns the seconds to sleep before the next look."""
        self._beat()
        self._read_shops()
        # Nobody asks what may be claimed while there is nothing to claim.
        if not self._is_busy and (pause := min(map(self._peek, self._shops), default=MAX_IDLE_SLEEP_S)) > 0:
            return pause
        self._is_busy = False
        allowances = self._allowances
        allowances.refresh(self._shops)
        try:
            pauses = [self._tick_shop(shop) for shop in self._shops]
        finally:
            allowances.finish()
        return min([MAX_SLEEP_S, *pauses])

    def _peek(self, shop: str) -> float:
        """Seconds to sleep before the shop's next timer is due; returns expired leases, and claims nothing."""
        now, next_due, _ = with_library(self._client, lambda: self._claim(shop, "", 0))
        return MAX_IDLE_SLEEP_S if next_due is None else min(MAX_IDLE_SLEEP_S, max(0, next_due - now) / 1000)

    def _tick_shop(self, shop: str) -> float:
        limits = self._allowances.packed()
        now, next_due, due = with_library(self._client, lambda: self._claim(shop, limits))
        if due:
            self._is_busy = True
            self._push(shop, now, due)
        if len(due) >= CHUNK:
            return 0.0
        return MAX_SLEEP_S if next_due is None else max(0.001, (next_due - now) / 1000)

    def _read_shops(self) -> None:
        if time.monotonic() - self._shops_read_at >= SHOPS_INTERVAL_S or not self._shops:
            self._shops = shops(self._client)
            self._shops_read_at = time.monotonic()

    def _claim(
        self, shop: str, limits: bytes | str, amount: int = CHUNK
    ) -> tuple[int, int | None, list[tuple[str, int, int]]]:
        now, next_due, *flat = fcall(self._client, "claim_due", keys.shop(shop), "", amount, LEASE_MS, limits)
        due = [(flat[i].decode(), int(float(flat[i + 1])), int(flat[i + 2])) for i in range(0, len(flat), 3)]
        return int(now), int(next_due) if next_due else None, due

    def _push(self, shop: str, now: int, due: list[tuple[str, int, int]]) -> None:
        allowances = self._allowances
        alone: list[str] = []
        together: list[str] = []
        for timer, at, returned in due:
            trigger = trigger_of(timer)
            if not allowances.is_limited(trigger):
                metrics.TIMER_LATENESS.observe(max(0, now - at) / 1000)
            allowances.claimed(trigger)
            (alone if returned else together).append(timer)
        metrics.TIMERS_CLAIMED.inc(len(due))
        pipe = self._client.pipeline(transaction=True)
        # One that came back may have taken its worker down: it travels alone, its neighbours are unharmed.
        for queue, timers in self._routes.by_queue(alone, timers=True, instead=allowances.instead).items():
            for timer in timers:
                push(pipe, queue, shop, [self._item(timer, 1)], now)
        for queue, timers in self._routes.by_queue(together, timers=True, instead=allowances.instead).items():
            push(pipe, queue, shop, [self._item(timer, 0) for timer in timers], now)
        pipe.execute()

    def _item(self, timer: str, returned: int) -> tuple[str, int] | tuple[str, int, int]:
        return (timer, returned, 1) if self._allowances.is_paced(trigger_of(timer)) else (timer, returned)

    def _beat(self) -> None:
        if time.monotonic() - self._beaten < HEARTBEAT_INTERVAL_S:
            return
        self._beaten = time.monotonic()
        now_ms = time.time_ns() // 1_000_000
        restored.beat(self._client, now_ms, self._last_beat_ms)
        self._last_beat_ms = now_ms

    def _hold_if_restored(self, should_stop: Callable[[], bool]) -> None:
        """Nothing is claimed before it is known whether this store is a copy."""
        while not should_stop():
            try:
                restored.hold_if_restored(self._client)
                return
            except RedisError as error:
                log.warning("redis_unavailable", error=type(error).__name__)
                time.sleep(0.5)

    def _wait_after_outage(self, should_stop: Callable[[], bool]) -> None:
        """After a long silence events are about to arrive in bulk: due mails wait until they have settled."""
        try:
            last: Any = self._client.get(keys.HEARTBEAT)
        except RedisError:
            return
        if last is None or time.time_ns() // 1_000_000 - int(last) < restored.OUTAGE_MS:
            return
        log.warning("waking_after_outage", waits_s=self._settle_ms / 1000)
        until = time.monotonic() + self._settle_ms / 1000
        while time.monotonic() < until and not should_stop():
            time.sleep(0.1)
