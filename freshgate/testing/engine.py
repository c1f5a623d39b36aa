"""The engine without its processes: the real receiver, gate and ledger on a real Valkey, with the test's clock.

All that knows how timers and jobs are stored is here; `world.py` has what tests say.
"""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from redis import Redis

from adapter.ingest.receive import Receiver
from adapter.ingest.record import WebhookReply
from adapter.local import embedded
from freshgate.declare import EventType, Trigger
from freshgate.events import Event
from freshgate.queue import Item, Job
from freshgate.routing import Routes
from freshgate.settings import Settings
from freshgate.state import keys, store
from freshgate.state.planner import Planner
from workers.asker import Oracle
from workers.courier import Courier
from workers.esp.base import Esp
from workers.lookup import Lookup, transactional_marks

DEADLINE_MS = 10_000
SHOP = "main"
# As `record.lua` has it.
SAFETY_NET_MS = 20_000


class Engine:
    """One shop on an empty Valkey. `clock` returns the time, in ms UTC; `oracle` answers for sources of truth."""

    def __init__(
        self,
        settings: Settings,
        events: Sequence[EventType],
        triggers: Sequence[Trigger],
        esp: Esp,
        clock: Callable[[], int],
        oracle: Oracle,
    ) -> None:
        self._client = Redis.from_url(settings.redis_url)
        self._client.flushdb()
        store.load(self._client)
        self._triggers = {trigger.name: trigger for trigger in triggers}
        pii_key = settings.pii_key.encode()
        planner = Planner(events, triggers, pii_key, page_addresses=settings.page_addresses == "any")
        self.receiver = Receiver(self._client, planner, Routes(["test"]), clock=clock)
        lookup = Lookup(
            self._client,
            pii_key,
            settings.order_grace,
            email_identity=settings.email_identity,
            transactional=transactional_marks(triggers),
            page_addresses=settings.page_addresses == "any",
            session_window=settings.session_window,
        )
        self._courier = Courier(
            self._client, self._triggers, esp, lookup, deadline_ms=DEADLINE_MS, clock=clock, oracle=oracle
        )
        self._clock = clock

    def record(self, events: Sequence[Event]) -> WebhookReply:
        """Record events as the receiver does with the elements of one request."""
        reply = WebhookReply(refusals=[])
        self.receiver.recorder.record(events, reply)
        return reply

    def due_timers(self, until: int) -> list[tuple[str, int]]:
        """(timer, due in ms) of each send that is due by `until` (ms), by due; one without a delay is due at once."""
        # No queue here: the timer that catches what the queue loses stands for an immediate send.
        horizon = max(until, self._clock() + SAFETY_NET_MS + 1)
        names: Any = self._client.smembers(f"{keys.shop(SHOP)}triggers")
        pipe = self._client.pipeline(transaction=False)
        for name in names:
            pipe.zrangebyscore(keys.timers(SHOP, name.decode()), "-inf", horizon, withscores=True)
        timers = [(timer.decode(), int(due)) for rows in pipe.execute() for timer, due in rows]
        due_timers = [(timer, 0 if self._is_immediate(timer) else due) for timer, due in timers]
        return sorted([entry for entry in due_timers if entry[1] <= until], key=lambda entry: (entry[1], entry[0]))

    def deliver(self, timer: str) -> None:
        """One job for that timer, as a worker carries it out."""
        returned = int(bool(self._client.hexists(f"{keys.shop(SHOP)}begun", timer)))
        self._courier.deliver(Job(sends=(Item(timer, returned),), created=self._clock(), shop=SHOP))

    def _is_immediate(self, timer: str) -> bool:
        trigger = self._triggers.get(keys.TimerRef.parse(timer).trigger)
        return trigger is not None and trigger.delay == 0


@cache
def valkey_url() -> str:
    """The URL of a Valkey that ends with this process. Raises FreshgateError where it is not installed."""
    # A short path, since a unix socket's must be.
    folder = tempfile.TemporaryDirectory(prefix="freshgate-test-")
    server = embedded.prepare(Path(folder.name) / "redis", log=Path(folder.name) / "redis.log")
    process = embedded.start(server)

    def stop() -> None:
        embedded.stop(server, process)
        folder.cleanup()

    atexit.register(stop)
    return server.url
