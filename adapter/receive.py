"""Steps 1 to 4 in order: verify, read, record, enqueue. Knows no Flask.

One trip to Redis carries a whole request; only what turns out to have moved or to be a new link takes another.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import redis
from redis.exceptions import RedisError

from adapter import logs, metrics, quarantine, tracing
from adapter.declare import EventType
from adapter.enqueue import push
from adapter.errors import NotAuthentic, RateLimited, RequestError
from adapter.events import Event, Ignored, Refused, Verdict
from adapter.limits import Limit, hint_of, limits_of, within
from adapter.sources.base import NOTHING, About, Headers, Source
from adapter.state import keys
from adapter.state.merge import MOST_HOPS, merge, resolve
from adapter.state.store import BUCKET_MS, Headroom, fcall, unavailable, with_library
from adapter.state.writes import Plan, Planner, Write
from adapter.unmapped import Unmapped

log = logs.get(__name__)
_pack = msgspec.msgpack.Encoder().encode

# A MULTI blocks Redis for as long as it runs: thousands of events go in several.
CHUNK = 500
LIMIT_TOLD_EVERY_S = 60.0
LINKS_REMEMBERED_S = 60.0
LINKS_REMEMBERED = 50_000


class Answer(msgspec.Struct):
    """What the caller is told: a count a verdict, and for each refused element its index and reason."""

    accepted: int = 0
    duplicate: int = 0
    ignored: int = 0
    refused: int = 0
    refusals: list[dict[str, Any]] = []


class Receiver:
    """All configured sources of one process. Thread-safe: what it remembers are hints."""

    def __init__(self, client: redis.Redis, planner: Planner, queue: str, traces: tracing.Traces = tracing.OFF) -> None:
        self._client = client
        self._planner = planner
        self._queue = queue
        self._traces = traces
        self._headroom = Headroom(client)
        self._unmapped = Unmapped(client)
        self._linked: dict[tuple[str, str], float] = {}
        self._limit_told: dict[str, float] = {}

    def receive(
        self,
        source: Source,
        body: bytes,
        headers: Headers,
        received_at: int,
        *,
        about: About = NOTHING,
        again: bool = False,
        remote: str = "",
    ) -> Answer:
        """Raises RequestError for the request as a whole, StoreUnavailable if Redis did not take it.

        remote  the caller's IP address, for limits
        """
        route = "/v1/<call>" if about.call else "/webhooks/<name>"
        with self._traces.request(source.name, headers.get("traceparent"), route):
            answer = self._receive(source, body, headers, received_at, about, again, remote)
            tracing.answered(200)
            return answer

    def _receive(
        self,
        source: Source,
        body: bytes,
        headers: Headers,
        received_at: int,
        about: About,
        again: bool,
        remote: str,
    ) -> Answer:
        self._verify(source, body, headers)
        verdicts = self._read(source, body, received_at, about)
        answer, meters = Answer(refusals=[]), metrics.of_source(source.name)
        events = self._sort(source, verdicts, answer)
        begun = time.perf_counter()
        try:
            if events:
                self._headroom.require()
            limits = limits_of(source.name, source.settings, events, remote, self._planner.pii_key)
            self.record(events, answer, again=again, trusted=source.settings.trust == "server", limits=limits)
            self._keep_failed(source, verdicts, received_at, about)
        except RateLimited as error:
            self._limit(source, error)
            raise
        except RedisError as error:
            raise unavailable(error) from error
        if answer.ignored:
            # A trip of its own, a minute and name: a fault in it must not fail what has been recorded.
            self._unmapped.note(source.name, verdicts, received_at)
        if events:
            meters.record.observe(time.perf_counter() - begun)
            metrics.LAST_EVENT.labels(source.name).set(received_at / 1000)
            newest = max(event.occurred_at for event in events)
            meters.delay.observe(max(0, received_at - newest) / 1000)
        for verdict in metrics.VERDICTS:
            count = getattr(answer, verdict)
            if count:
                tracing.note(**{verdict: count})
                meters.events[verdict].inc(count)
        return answer

    def record(
        self,
        events: Sequence[Event],
        answer: Answer,
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

    def read_again(self, source: Source, kept: quarantine.Kept) -> Answer:
        """An element of the quarantine, read by what our code is now. It was authentic when it came.

        Raises RequestError where it still cannot be read at all, RedisError.
        """
        answer = Answer(refusals=[])
        events = self._sort(source, self._read(source, kept.raw, kept.received_at, kept.about), answer)
        self.record(events, answer, trusted=source.settings.trust == "server")
        return answer

    def _verify(self, source: Source, body: bytes, headers: Headers) -> None:
        begun = time.perf_counter()
        try:
            source.verify(body, headers)
        except NotAuthentic as error:
            metrics.UNAUTHENTIC.labels(source.name, type(error).__name__).inc()
            log.warning("not_authentic", source=source.name, hint=error.hint)
            raise
        except RequestError as error:
            self.refuse(source, error)
            raise
        finally:
            metrics.of_source(source.name).verify.observe(time.perf_counter() - begun)

    def _read(self, source: Source, body: bytes, received_at: int, about: About) -> Sequence[Verdict]:
        begun = time.perf_counter()
        try:
            return source.read(body, received_at, about)
        except RequestError as error:
            self.refuse(source, error)
            raise
        finally:
            metrics.of_source(source.name).read.observe(time.perf_counter() - begun)

    @staticmethod
    def refuse(source: Source, error: RequestError) -> None:
        """The CDP will not send it again: whoever reads the log must learn that events were lost."""
        metrics.REQUESTS_REFUSED.labels(source.name, str(error.status)).inc()
        log.error("body_refused", source=source.name, status=error.status, reason=error.reason, hint=error.hint)

    def _sort(self, source: Source, verdicts: Sequence[Verdict], answer: Answer) -> list[Event]:
        events = []
        for index, told in enumerate(verdicts):
            verdict = told
            if isinstance(verdict, Event):
                verdict = admitted(verdict, self._planner.types[verdict.name], source.settings.trust)
            if isinstance(verdict, Event):
                events.append(verdict)
                if verdict.unreadable:
                    metrics.UNREADABLE.labels(source.name).inc(len(verdict.unreadable))
                if verdict.clamped:
                    metrics.CLAMPED.labels(source.name).inc()
            elif isinstance(verdict, Ignored):
                answer.ignored += 1
            elif isinstance(verdict, Refused):
                answer.refused += 1
                answer.refusals.append({"index": index, "reason": verdict.reason})
                metrics.REFUSALS.labels(source.name, verdict.reason).inc()
        return events

    def _keep_failed(self, source: Source, verdicts: Sequence[Verdict], received_at: int, about: About) -> None:
        """Elements on which our own code failed: kept raw, since the CDP will not send them again."""
        for verdict in verdicts:
            if isinstance(verdict, Refused) and verdict.raw:
                log.error("reading_failed", source=source.name, fault=verdict.fault)
                quarantine.keep(self._client, quarantine.Kept(source.name, verdict.raw, received_at, about))

    def _limit(self, source: Source, error: RateLimited) -> None:
        metrics.RATE_LIMITED.labels(source.name, error.limit).inc()
        now, hint = time.monotonic(), hint_of(source.name, error.limit)
        # A flood of requests must not become one of lines.
        if now >= self._limit_told.get(hint, 0.0):
            self._limit_told[hint] = now + LIMIT_TOLD_EVERY_S
            log.warning("rate_limited", source=source.name, limit=error.limit, hint=hint)

    def _record(self, plans: list[Plan], answer: Answer, limits: Sequence[Limit] = ()) -> None:
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
        if recorded and not sends:
            return recorded
        pipe = self._client.pipeline(transaction=True)
        if not recorded:
            fcall(pipe, "fg1_record", names, *arguments)
        with self._traces.producing(self._queue, len(sends)):
            tracing.named(push(pipe, self._queue, sends, now, tracing.traceparent()))
        replies = pipe.execute()
        return recorded or within(replies[0])

    def _follow(self, plan: Plan, write: Write, reply: str) -> str:
        """Act on an answer that was not simply yes; returns what it came to."""
        for _ in range(MOST_HOPS):
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
    def _count(said: str, answer: Answer) -> None:
        if said == "dup":
            answer.duplicate += 1
        elif said in ("amb", "del"):
            answer.ignored += 1
        else:
            answer.accepted += 1


def admitted(event: Event, event_type: EventType, trust: str) -> Event | Refused:
    """The event, unless nobody can be told from it, or a source of that trust may not say such a thing."""
    if not (event.user_id or event.anonymous_id or event.email):
        # An alias that says who somebody was, but not who they are.
        return Refused("no_identity")
    # Whoever has the key of a page speaks for one device only: it has no say over others, nor over their addresses.
    alone = event.anonymous_id is not None and not event_type.effect and not event_type.suppresses
    return event if trust == "server" or alone else Refused("not_trusted")
