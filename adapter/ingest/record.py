"""Steps 3 and 4: what has been read is recorded, and what is to be sent at once is enqueued.

One trip to Redis carries a whole request, in calls of a few milliseconds each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import redis
from redis.exceptions import RedisError

from adapter.ingest.limits import Limit, with_bytes, within
from freshgate.errors import StoreUnavailable
from freshgate.events import Event
from freshgate.queue import push
from freshgate.routing import Routes
from freshgate.state import keys
from freshgate.state.planner import Plan, Planner, move_products
from freshgate.state.store import add_shops, fcall, with_library
from freshgate.telemetry import metrics, tracing

_pack = msgspec.msgpack.Encoder().encode

# A function call blocks Redis for as long as it runs: at some 50 us a unit, for 5 ms at most.
MAX_WORK = 48
LINKS_TTL_S = SHOP_INTERVAL_S = 60.0
GAP_INTERVAL_S = 1.0
MAX_LINKS = 50_000
# A link that is recorded already need not be looked at again: which id, which other one, since when.
LinkKey = tuple[str, str, bool]


class WebhookReply(msgspec.Struct):
    """What the caller is told: a count a verdict, and for each refused element its index and reason."""

    accepted: int = 0
    duplicate: int = 0
    ignored: int = 0
    refused: int = 0
    refusals: list[dict[str, Any]] = []


class Recorder:
    """One Redis, and the queues of all accounts. Thread-safe: what it remembers are hints.

    clock  replaces Redis' clock, for tests
    """

    def __init__(
        self,
        client: redis.Redis,
        planner: Planner,
        routes: Routes,
        traces: tracing.Traces = tracing.OFF,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self._client = client
        self._planner = planner
        self._routes = routes
        self._traces = traces
        self._clock = clock
        self._linked: dict[LinkKey, tuple[int, float]] = {}
        self._shops_with_gap: set[str] = set()
        self._shop_added_at: dict[str, float] = {}
        self._gap_written_at: dict[str, float] = {}

    def record(
        self,
        events: Sequence[Event],
        answer: WebhookReply,
        *,
        replay: bool = False,
        trusted: bool = True,
        limits: Sequence[Limit] = (),
    ) -> None:
        """Steps 3 and 4 for events that have been read, all of one shop; counts their verdicts into `answer`.

        Raises RedisError; RateLimited where the limits are reached: then nothing is recorded.
        """
        self.write(self.plan(events, replay=replay, trusted=trusted), answer, limits)

    def plan(self, events: Sequence[Event], *, replay: bool = False, trusted: bool = True) -> list[Plan]:
        """What the events change. Raises whatever the catalog's own code raises."""
        return [self._planner.plan(event, replay=replay, trusted=trusted) for event in events]

    def write(self, plans: Sequence[Plan], answer: WebhookReply, limits: Sequence[Limit] = ()) -> None:
        """Steps 3 and 4 for plans, all of one shop; raises as `record` does."""
        if not plans:
            return
        shop = plans[0].event.id_space
        now = time.monotonic()
        for plan in plans:
            if "links" in plan.body:
                self._drop_known_links(plan, now)
        # Taken away first: what another thread notes from now on is for the next call.
        has_gap = shop in self._shops_with_gap
        self._shops_with_gap.discard(shop)
        try:
            self._make_known(shop)
            written = [*plans, *move_products(plans)]
            replies = with_library(self._client, lambda: self._commit(shop, written, limits, has_gap=has_gap))
        except RedisError:
            self.note_gap(shop)
            raise
        for plan, reply in zip(plans, replies, strict=False):
            self._count(plan, reply, answer)

    def _make_known(self, shop: str) -> None:
        """Once a minute: a Redis that was emptied does not know its shops."""
        now = time.monotonic()
        if now - self._shop_added_at.get(shop, float("-inf")) > SHOP_INTERVAL_S:
            # In a Cluster the names of the shops may be on a node that is down, and the shop on one that is not. It is
            # known since the receiver's start; the next request tries again.
            with suppress(RedisError):
                add_shops(self._client, [shop])
                self._shop_added_at[shop] = now

    def note_gap(self, shop: str) -> None:
        """Events of the shop were refused, and come again: once they can be recorded, waiting mails settle first."""
        self._shops_with_gap.add(shop)

    def write_gap(self, shop: str) -> None:
        """As `note_gap`, and at once where Redis takes it: the shop's next event may come to another process, or after
        the mail that the refused one would have withdrawn. Raises nothing."""
        self.note_gap(shop)
        now = time.monotonic()
        if now - self._gap_written_at.get(shop, float("-inf")) < GAP_INTERVAL_S:
            return
        self._gap_written_at[shop] = now
        arguments = (self._clock() if self._clock else "", 1, "")
        with suppress(RedisError, StoreUnavailable):
            with_library(self._client, lambda: fcall(self._client, "record", keys.shop(shop), *arguments))

    def _commit(
        self, shop: str, plans: Sequence[Plan], limits: Sequence[Limit] = (), *, has_gap: bool = False
    ) -> list[str]:
        """The one trip: every event in a call that is atomic for it, then a job an account. A job finds the
        timers, or nothing to do; if we die before it, the timers send."""
        trace = tracing.traceparent()
        if trace:
            for plan in plans:
                if plan.starts:
                    plan.body["trace"] = trace
        timers = list(dict.fromkeys(timer for plan in plans for timer in plan.timers))
        replies: list[str] = []
        calls = self._calls(plans, limits, has_gap)
        if limits:
            # Nothing else is sent along with what may be refused.
            replies += within(fcall(self._client, "record", keys.shop(shop), *calls.pop(0)))
        if calls or timers:
            pipe = self._client.pipeline(transaction=False)
            for arguments in calls:
                fcall(pipe, "record", keys.shop(shop), *arguments)
            created = time.time_ns() // 1_000_000
            for queue, own in self._routes.by_queue(timers).items():
                with self._traces.producing(queue, len(own)):
                    sends = [(timer, 0) for timer in own]
                    tracing.set_job_id(push(pipe, queue, shop, sends, created, tracing.traceparent()))
            for reply in pipe.execute()[: len(calls)]:
                replies += within(reply)
        return [
            reply if reply[:5] != "more " else self._finish(shop, plan, reply)
            for plan, reply in zip(plans, replies, strict=True)
        ]

    def _finish(self, shop: str, plan: Plan, reply: str) -> str:
        """The reply to an erasure of a large person once all of it is done: a call takes out a bounded part."""
        while reply.startswith("more "):
            now = self._clock() if self._clock else ""
            (reply,) = within(fcall(self._client, "record", keys.shop(shop), now, 0, "", plan.packed()))
        return reply

    def _calls(self, plans: Sequence[Plan], limits: Sequence[Limit], has_gap: bool) -> list[list[Any]]:
        """The arguments of each call: no more events than Redis may be blocked for."""
        now = self._clock() if self._clock else ""
        packed = [plan.packed() for plan in plans]
        # The first call alone: the limits count the request.
        head = [now, int(has_gap), _pack(with_bytes(limits, packed)) if limits else ""]
        calls: list[list[Any]] = []
        work: float = MAX_WORK
        for plan, body in zip(plans, packed, strict=True):
            own_work = plan.work(len(body))
            if work + own_work > MAX_WORK:
                calls.append(head)
                head, work = [now, 0, ""], 0
            calls[-1].append(body)
            work += own_work
        return calls

    def _drop_known_links(self, plan: Plan, now: float) -> None:
        new_links = []
        for link in plan.body["links"]:
            first_at, until = self._linked.get(link, (0, 0.0))
            # An earlier event moves the link's stamp, which decides to whom a device belongs.
            if until < now or plan.event.occurred_at < first_at:
                new_links.append(link)
        if new_links:
            plan.body["links"] = new_links
        else:
            del plan.body["links"]

    def _count(self, plan: Plan, reply: str, answer: WebhookReply) -> None:
        verdict, _, rest = reply.partition(" ")
        links = plan.body.get("links")
        results = rest.partition(" ")[2].split(",") if links else ()
        for link, result in zip(links or (), results, strict=False):
            if not result:
                continue
            metrics.IDENTITY_LINKS.labels(result if result in metrics.IDENTITY else "ambiguous").inc()
            if result in ("linked", "merged"):
                if len(self._linked) > MAX_LINKS:
                    self._linked.clear()
                self._linked[link] = (plan.event.occurred_at, time.monotonic() + LINKS_TTL_S)
        if verdict == "dup":
            answer.duplicate += 1
        elif verdict in ("amb", "del"):
            answer.ignored += 1
            metrics.IDENTITY_LINKS.labels("ambiguous" if verdict == "amb" else "erased").inc()
        else:
            answer.accepted += 1
