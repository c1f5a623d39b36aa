"""Steps 3 and 4: what has been read is recorded, and what is to be sent at once is enqueued.

One trip to Redis carries a whole request; only what turns out to have moved or to be a new link takes another.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import redis

from adapter.ingest.limits import Limit, within
from freshgate.events import Event
from freshgate.queue import push
from freshgate.state.planner import Plan, Planner, Write
from freshgate.state.store import BUCKET_MS, fcall, with_library
from freshgate.telemetry import metrics, tracing

_pack = msgspec.msgpack.Encoder().encode

# A MULTI blocks Redis for as long as it runs: thousands of events go in several.
CHUNK = 500
LINKS_REMEMBERED_S = 60.0
LINKS_REMEMBERED = 50_000


class WebhookReply(msgspec.Struct):
    """What the caller is told: a count a verdict, and for each refused element its index and reason."""

    accepted: int = 0
    duplicate: int = 0
    ignored: int = 0
    refused: int = 0
    refusals: list[dict[str, Any]] = []


class Recorder:
    """One Redis and one queue. Thread-safe: what it remembers are hints."""

    def __init__(self, client: redis.Redis, planner: Planner, queue: str, traces: tracing.Traces = tracing.OFF) -> None:
        self._client = client
        self._planner = planner
        self._queue = queue
        self._traces = traces
        self._linked: dict[tuple[str, str], float] = {}

    def record(
        self,
        events: Sequence[Event],
        answer: WebhookReply,
        *,
        again: bool = False,
        trusted: bool = True,
        limits: Sequence[Limit] = (),
    ) -> None:
        """Steps 3 and 4 for events that have been read; counts their verdicts into `answer`.

        Raises RedisError; RateLimited where the limits are reached: then nothing is recorded.
        """
        for at in range(0, len(events), CHUNK):
            chunk = [self._planner.plan(event, again=again, trusted=trusted) for event in events[at : at + CHUNK]]
            # They count the request, not its chunks.
            self._record(chunk, answer, limits if at == 0 else ())

    def _record(self, plans: list[Plan], answer: WebhookReply, limits: Sequence[Limit] = ()) -> None:
        writes: list[tuple[Plan, Write]] = []
        for plan in plans:
            first = len(writes) + 1
            for write in plan.writes:
                if self._is_known_link(write):
                    continue
                if len(writes) >= first:
                    write.body["head"] = first
                writes.append((plan, write))
        sends = {member: (member, due, 0) for plan in plans for member, due in plan.sends}
        replies = with_library(
            self._client, lambda: self._commit([write for _, write in writes], list(sends.values()), limits)
        )
        moved: list[tuple[str, int, int]] = []
        for (plan, write), reply in zip(writes, replies, strict=True):
            if "link" in write.body:
                self._count_link(write, reply)
                continue
            verdict, _, person = reply.partition(" ")
            if person:
                # The id belongs to another person by now: the job named the sends by the old one.
                moved += [(member.replace(plan.person, person), due, 0) for member, due in plan.sends]
                plan.person = person
            if write is plan.writes[0]:
                self._count(verdict, answer)
        if moved:
            self._push(moved)

    def _commit(
        self, writes: Sequence[Write], sends: list[tuple[str, int, int]], limits: Sequence[Limit] = ()
    ) -> list[str]:
        """The one trip: every write and the job, all or nothing. A job whose write was not news finds no timer."""
        now = time.time_ns() // 1_000_000
        trace = tracing.traceparent()
        if trace:
            for write in writes:
                if "starts" in write.body:
                    write.body["trace"] = trace
        names, packed = [write.key for write in writes], [write.packed() for write in writes]
        arguments = [now // BUCKET_MS, *packed, *([_pack(limits)] if limits else [])]
        # One function is all or nothing by itself. No job is made for what may be refused: if we die in between, the
        # timers send.
        recorded = within(fcall(self._client, "fg1_record", names, *arguments)) if limits or not sends else None
        if recorded is not None and not sends:
            return recorded
        pipe = self._client.pipeline(transaction=True)
        if recorded is None:
            fcall(pipe, "fg1_record", names, *arguments)
        with self._traces.producing(self._queue, len(sends)):
            tracing.set_job_id(push(pipe, self._queue, sends, now, tracing.traceparent()))
        replies = pipe.execute()
        return within(replies[0]) if recorded is None else recorded

    def _push(self, sends: list[tuple[str, int, int]]) -> None:
        """One more job. If we die before it, the timers send."""
        pipe = self._client.pipeline(transaction=True)
        push(pipe, self._queue, sends, time.time_ns() // 1_000_000, tracing.traceparent())
        pipe.execute()

    def _count_link(self, write: Write, reply: str) -> None:
        if reply == "skip":
            return
        metrics.IDENTITY_LINKS.labels(reply if reply in metrics.IDENTITY else "ambiguous").inc()
        if reply in ("linked", "merged"):
            if len(self._linked) > LINKS_REMEMBERED:
                self._linked.clear()
            self._linked[(write.key, write.body["link"])] = time.monotonic() + LINKS_REMEMBERED_S

    def _is_known_link(self, write: Write) -> bool:
        target = write.body.get("link")
        return target is not None and self._linked.get((write.key, target), 0.0) > time.monotonic()

    @staticmethod
    def _count(verdict: str, answer: WebhookReply) -> None:
        if verdict == "dup":
            answer.duplicate += 1
        elif verdict in ("amb", "del"):
            answer.ignored += 1
            metrics.IDENTITY_LINKS.labels("ambiguous" if verdict == "amb" else "erased").inc()
        else:
            answer.accepted += 1
