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
from freshgate.state import keys
from freshgate.state.merge import MAX_HOPS, merge, resolve
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
        writes = [(plan, write) for plan in plans for write in plan.writes if not self._is_known_link(write)]
        sends = {member: (member, due, 0) for plan in plans for member, due in plan.sends}
        replies = with_library(
            self._client, lambda: self._commit([write for _, write in writes], list(sends.values()), limits)
        )
        for (plan, write), reply in zip(writes, replies, strict=True):
            said = self._follow(plan, write, reply)
            if write is plan.writes[0]:
                self._count(said, answer)
                if plan.wants_address and said == "ok":
                    self._suppress(plan)

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
            tracing.named(push(pipe, self._queue, sends, now, tracing.traceparent()))
        replies = pipe.execute()
        return within(replies[0]) if recorded is None else recorded

    def _follow(self, plan: Plan, write: Write, reply: str) -> str:
        """Act on an answer that was not simply yes; returns what it came to."""
        for _ in range(MAX_HOPS):
            if not reply.startswith("moved "):
                break
            if plan.claims and not self._is_same(reply[6:], plan.claims):
                # Another user of the same device.
                self._commit([Write(write.key, {"link": plan.claims, "amb": True})], [])
                return "amb"
            # The id is a tombstone: the same write is repeated where it points.
            moved = self._moved(plan, write, reply[6:])
            reply = self._commit([moved], self._sends_of(moved))[0]
            write.key = moved.key
        if "link" in write.body:
            self._link(plan, write, reply)
        elif reply == "amb":
            metrics.IDENTITY_LINKS.labels("ambiguous").inc()
        elif reply == "del":
            metrics.IDENTITY_LINKS.labels("erased").inc()
        return reply

    def _moved(self, plan: Plan, write: Write, person: str) -> Write:
        body = dict(write.body)
        old, new = plan.person, person
        plan.person = person
        if "starts" in body:
            body["starts"] = [(member.replace(old, new), mark, due) for member, mark, due in body["starts"]]
        return Write(keys.person(person), body)

    @staticmethod
    def _sends_of(write: Write) -> list[tuple[str, int, int]]:
        starts = write.body.get("starts", ())
        soon = write.body.get("rx", 0) + 20_001
        return [(member, due, 0) for member, _, due in starts if due < soon]

    def _link(self, plan: Plan, write: Write, reply: str) -> None:
        other = write.key.rpartition(":")[2]
        target = write.body["link"]
        if reply == "new":
            reply = merge(self._client, other, target, plan.event.occurred_at)
        elif reply.startswith("other "):
            reply = self._meets_another(write, reply[6:], target)
        metrics.IDENTITY_LINKS.labels(reply if reply in metrics.IDENTITY else "ambiguous").inc()
        if reply in ("linked", "merged"):
            if len(self._linked) > LINKS_REMEMBERED:
                self._linked.clear()
            self._linked[(write.key, target)] = time.monotonic() + LINKS_REMEMBERED_S

    def _meets_another(self, write: Write, known: str, target: str) -> str:
        """An anonymous id that was linked: to the same person under another name, or to another user of the device."""
        if self._is_same(known, target):
            return "linked"
        self._commit([Write(write.key, {**write.body, "amb": True})], [])
        return "ambiguous"

    def _is_same(self, one: str, other: str) -> bool:
        return resolve(self._client, one) == resolve(self._client, other)

    def _is_known_link(self, write: Write) -> bool:
        target = write.body.get("link")
        return target is not None and self._linked.get((write.key, target), 0.0) > time.monotonic()

    def _suppress(self, plan: Plan) -> None:
        """An unsubscribe without an address is meant for the one that the person has now."""
        found: Any = self._client.hget(keys.person(plan.person), "t:email")
        if found:
            event_type = self._planner.types[plan.event.name]
            email = bytes(found)[22:].decode("utf-8", "replace")
            self._commit([self._planner.address(plan.event, event_type, None, email)], [])

    @staticmethod
    def _count(said: str, answer: WebhookReply) -> None:
        if said == "dup":
            answer.duplicate += 1
        elif said in ("amb", "del"):
            answer.ignored += 1
        else:
            answer.accepted += 1
