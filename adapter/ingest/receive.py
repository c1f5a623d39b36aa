"""Steps 1 to 4 in order: verify, read, record, enqueue; and what is told of each to caller, log and metrics.

`record.py` does the latter two. Knows no Flask.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import redis
from redis.exceptions import RedisError

from adapter.ingest import quarantine
from adapter.ingest.limits import hint_of, limits_of
from adapter.ingest.record import Recorder, WebhookReply
from adapter.ingest.unmapped import Unmapped
from adapter.sources.base import NO_CONTEXT, Headers, RequestContext, Source
from freshgate.declare import EventType
from freshgate.errors import NotAuthentic, RateLimited, RequestError
from freshgate.events import Event, Ignored, Refused, Verdict
from freshgate.state.planner import Planner
from freshgate.state.store import Headroom, unavailable
from freshgate.telemetry import logs, metrics, tracing

log = logs.get(__name__)
LIMIT_LOG_INTERVAL_S = 60.0


class Receiver:
    """All configured sources of one process. Thread-safe: what it remembers are hints."""

    def __init__(self, client: redis.Redis, planner: Planner, queue: str, traces: tracing.Traces = tracing.OFF) -> None:
        self._client = client
        self._planner = planner
        self._traces = traces
        self.recorder = Recorder(client, planner, queue, traces)
        self._headroom = Headroom(client)
        self._unmapped = Unmapped(client)
        self._limit_told: dict[str, float] = {}

    def receive(
        self,
        source: Source,
        body: bytes,
        headers: Headers,
        received_at: int,
        *,
        context: RequestContext = NO_CONTEXT,
        again: bool = False,
        remote: str = "",
    ) -> WebhookReply:
        """Raises RequestError for the request as a whole, StoreUnavailable if Redis did not take it.

        remote  the caller's IP address, for limits
        """
        route = "/v1/<call>" if context.call else "/webhooks/<name>"
        with self._traces.request(source.name, headers.get("traceparent"), route):
            answer = self._receive(source, body, headers, received_at, context, again, remote)
            tracing.set_http_status(200)
            return answer

    def _receive(
        self,
        source: Source,
        body: bytes,
        headers: Headers,
        received_at: int,
        context: RequestContext,
        again: bool,
        remote: str,
    ) -> WebhookReply:
        self._verify(source, body, headers)
        verdicts = self._read(source, body, received_at, context)
        answer, meters = WebhookReply(refusals=[]), metrics.source_metrics(source.name)
        events = self._sort(source, verdicts, answer)
        begun = time.perf_counter()
        try:
            if events:
                self._headroom.require()
            limits = limits_of(source.name, source.settings, events, remote, self._planner.pii_key)
            trusted = source.settings.trust == "server"
            self.recorder.record(events, answer, again=again, trusted=trusted, limits=limits)
            self._keep_failed(source, verdicts, received_at, context)
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
                tracing.annotate(**{verdict: count})
                meters.events[verdict].inc(count)
        return answer

    def replay_element(self, source: Source, kept: quarantine.QuarantinedElement) -> WebhookReply:
        """An element of the quarantine, read by what our code is now. It was authentic when it came.

        Raises RequestError where it still cannot be read at all, RedisError.
        """
        answer = WebhookReply(refusals=[])
        events = self._sort(source, self._read(source, kept.raw, kept.received_at, kept.context), answer)
        self.recorder.record(events, answer, trusted=source.settings.trust == "server")
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
            metrics.source_metrics(source.name).verify.observe(time.perf_counter() - begun)

    def _read(self, source: Source, body: bytes, received_at: int, context: RequestContext) -> Sequence[Verdict]:
        begun = time.perf_counter()
        try:
            return source.read(body, received_at, context)
        except RequestError as error:
            self.refuse(source, error)
            raise
        finally:
            metrics.source_metrics(source.name).read.observe(time.perf_counter() - begun)

    @staticmethod
    def refuse(source: Source, error: RequestError) -> None:
        """The CDP will not send it again: whoever reads the log must learn that events were lost."""
        metrics.REQUESTS_REFUSED.labels(source.name, str(error.status)).inc()
        log.error("body_refused", source=source.name, status=error.status, reason=error.reason, hint=error.hint)

    def _sort(self, source: Source, verdicts: Sequence[Verdict], answer: WebhookReply) -> list[Event]:
        events = []
        for index, told in enumerate(verdicts):
            verdict = told
            if isinstance(verdict, Event):
                verdict = check_trust(verdict, self._planner.types[verdict.name], source.settings.trust)
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

    def _keep_failed(
        self, source: Source, verdicts: Sequence[Verdict], received_at: int, context: RequestContext
    ) -> None:
        """Elements on which our own code failed: kept raw, since the CDP will not send them again."""
        for verdict in verdicts:
            if isinstance(verdict, Refused) and verdict.raw:
                log.error("reading_failed", source=source.name, fault=verdict.fault)
                quarantine.add_element(
                    self._client, quarantine.QuarantinedElement(source.name, verdict.raw, received_at, context)
                )

    def _limit(self, source: Source, error: RateLimited) -> None:
        metrics.RATE_LIMITED.labels(source.name, error.limit).inc()
        now, hint = time.monotonic(), hint_of(source.name, error.limit)
        # A flood of requests must not become one of lines.
        if now >= self._limit_told.get(hint, 0.0):
            self._limit_told[hint] = now + LIMIT_LOG_INTERVAL_S
            log.warning("rate_limited", source=source.name, limit=error.limit, hint=hint)


def check_trust(event: Event, event_type: EventType, trust: str) -> Event | Refused:
    """The event, unless nobody can be told from it, or a source of that trust may not say such a thing."""
    if not (event.user_id or event.anonymous_id or event.email):
        # An alias that says who somebody was, but not who they are.
        return Refused("no_identity")
    # Whoever has the key of a page speaks for one device only: it has no say over others, nor over their addresses.
    alone = event.anonymous_id is not None and not event_type.effect and not event_type.suppresses
    return event if trust == "server" or alone else Refused("not_trusted")
