"""Sends a shop's outcomes: takes a batch under a lease, hands it over, and takes out what has arrived.

A thread of the timers process for each shop. No mail waits for it: the calls that settle mails write outcomes, and this
reads them. `freshgate/state/lua/outcomes.lua` keeps the lease, `account.py` breaker and limits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import Any, NamedTuple

import redis
from redis.exceptions import RedisError

from freshgate.errors import EspError
from freshgate.ids import address_in
from freshgate.outcomes import Outcome
from freshgate.settings import OutcomeSettings
from freshgate.state import keys
from freshgate.state.clock import RedisClock
from freshgate.state.store import fcall, with_library
from freshgate.telemetry import logs, metrics
from workers.account import Account
from workers.backoff import next_try
from workers.calls import error_class
from workers.outcomes.destination import Delivery, Destination, account_name, account_settings

log = logs.get(__name__)

# Segment takes 500 KB a call; a hundred are some 60 KB.
BATCH = 100
IDLE_S = 0.5
MAX_PAUSE_MS = 300_000
FAULT_PAUSE_S = 30.0
# How much longer a lease is than the calls that it is for.
LEASE_MARGIN_MS = 5000
AT = Outcome._fields.index("at")


class Taken(NamedTuple):
    """An outcome that waits, by its id in Redis."""

    id: bytes
    delivery: Delivery


class OutcomeSender:
    """One shop's: `tick` is one call, `start` sends until the process ends. Any number may run; a lease lets one send.

    clock  replaces Redis' clock, for tests
    """

    def __init__(
        self,
        client: redis.Redis,
        shop: str,
        settings: OutcomeSettings,
        destination: Destination,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.shop = shop
        self._client = client
        self._settings = settings
        self._destination = destination
        self._clock = RedisClock(clock)
        self._account = Account(client, account_name(shop), account_settings(settings), self._clock)
        self._token = token_hex(6)
        self._lease_ms = int(settings.timeout_s * 1000) + LEASE_MARGIN_MS

    def start(self, stopped: threading.Event) -> None:
        """Sends in a thread that ends with the process: what is under way then is sent once more."""
        threading.Thread(target=self.run, args=(stopped,), name=f"outcomes-{self.shop}", daemon=True).start()

    def run(self, stopped: threading.Event) -> None:
        """Sends until `stopped` is set. What is unexpected is logged, and tried again."""
        while not stopped.is_set():
            try:
                pause_s = self.tick()
            except RedisError as error:
                log.warning("redis_unavailable", error=type(error).__name__)
                pause_s = IDLE_S
            except Exception as error:  # The outermost edge of the thread: no fault of ours ends it.
                log.exception("outcomes_failed", shop=self.shop, error=type(error).__name__)
                pause_s = FAULT_PAUSE_S
            stopped.wait(pause_s)

    def tick(self) -> float:
        """Sends a batch, if one waits and may leave. Returns the seconds to wait before the next. Raises RedisError."""
        tries, taken, due = self._take()
        if not taken:
            return IDLE_S if due is None else min(max(due - self._clock.now(), 1) / 1000, IDLE_S)
        admission = self._account.admit(len(taken), "marketing")
        if not admission.mails:
            self._end([], due=admission.due)
            return IDLE_S
        time.sleep(admission.wait_s)
        batch = taken[: admission.mails]
        error = self._deliver(batch)
        if error is None:
            self._account.report(admission, len(batch), None)
            return 0.0
        self._account.report(admission, 0, error)
        metrics.OUTCOME_ERRORS.labels(self.shop, error_class(error)).inc()
        log.warning("outcomes_refused", shop=self.shop, kind=error_class(error), said=str(error))
        pause = next_try(self._clock.now(), tries, error.retry_after_s)
        self._end([], due=min(pause, self._clock.now() + MAX_PAUSE_MS), failed=True)
        return IDLE_S

    def _deliver(self, batch: Sequence[Taken]) -> EspError | None:
        """Hands a batch over, in halves where it is refused for what is in it: that is one outcome, which goes."""
        try:
            self._destination.deliver([entry.delivery for entry in batch])
        except EspError as error:
            if not error.permanent:
                return error
            if len(batch) > 1:
                middle = len(batch) // 2
                return self._deliver(batch[:middle]) or self._deliver(batch[middle:])
            log.error("outcome_lost", shop=self.shop, outcome=batch[0].delivery.outcome.event, said=str(error))
            self._finish(batch, "refused")
        else:
            self._finish(batch, "taken")
        return None

    def _finish(self, batch: Sequence[Taken], result: str) -> None:
        self._end([entry.id for entry in batch])
        for entry in batch:
            metrics.OUTCOMES_SENT.labels(self.shop, entry.delivery.outcome.event, result).inc()

    def _take(self) -> tuple[int, list[Taken], int | None]:
        """How often the destination failed in a row, the outcomes, and when to ask again if there are none (ms)."""
        now, status, number, *rows = self._call("take_outcomes", self._token, self._lease_ms, BATCH)
        self._clock.set(int(now))
        if status != b"taken":
            return 0, [], int(float(number)) if number else None
        width = 2 + len(Outcome._fields)
        return int(number), [self._read(rows[i : i + width]) for i in range(0, len(rows), width)], None

    def _read(self, row: Sequence[bytes]) -> Taken:
        entry_id, user_id, *fields = row
        texts: list[Any] = [field.decode("utf-8", "replace") for field in fields]
        texts[AT] = int(texts[AT])
        outcome = Outcome(*texts)
        name = user_id.decode("utf-8", "replace")
        if address_in(name) and not self._settings.include_address:
            name = ""
        return Taken(entry_id, Delivery(outcome, outcome.message_id(self.shop), name))

    def _end(self, ids: Sequence[bytes], *, due: int | None = None, failed: bool = False) -> None:
        self._call("end_outcomes", self._token, "" if due is None else due, int(failed), *ids)

    def _call(self, function: str, *arguments: Any) -> list[Any]:
        key = keys.shop(self.shop)
        reply: list[Any] = with_library(
            self._client, lambda: fcall(self._client, function, key, self._clock.override, *arguments)
        )
        return reply
