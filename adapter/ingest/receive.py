"""The path of a webhook in order: verify, read, record and enqueue; and what log and metrics learn of each step.

The source verifies and reads, `record.py` records and enqueues. Flask is known in `routes/` only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
import redis
from redis.exceptions import RedisError

from adapter.ingest import quarantine
from adapter.ingest.bodies import plain_body
from adapter.ingest.limits import build_limits, limit_hint
from adapter.ingest.page_data import bound_page_data
from adapter.ingest.planning import failing_elements, plan_separately
from adapter.ingest.record import Recorder, WebhookReply
from adapter.ingest.unmapped import Unmapped
from adapter.sources.base import NO_CONTEXT, Headers, RequestContext, Source, failed
from freshgate.declare import EventType
from freshgate.errors import NotAuthentic, RateLimited, RequestError
from freshgate.events import Event, Ignored, Refused, Verdict
from freshgate.outcomes import is_outcome
from freshgate.routing import Routes
from freshgate.settings_parsing import setting_name
from freshgate.state.clock import RedisClock
from freshgate.state.planner import Plan, Planner
from freshgate.state.store import Headroom, unavailable
from freshgate.telemetry import logs, metrics, tracing

log = logs.get(__name__)
LIMIT_LOG_INTERVAL_S = 60.0


class WebhookRequest(msgspec.Struct, frozen=True):
    """One request to a source, free of Flask.

    body         the bytes, as they were signed
    received_at  ms UTC
    context      what the URL and the content type say
    encoding     the Content-Encoding; empty for a body that has been unpacked
    replay       True records events that are known already: an operator sends them again on purpose
    remote_ip    the caller's address, for limits; empty if it is not known
    """

    body: bytes
    headers: Headers
    received_at: int
    context: RequestContext = NO_CONTEXT
    encoding: str = ""
    replay: bool = False
    remote_ip: str = ""


class Receiver:
    """Receives the requests of all sources of one process. Thread-safe: what it remembers are hints.

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
        self._traces = traces
        self.recorder = Recorder(client, planner, routes, traces, clock)
        self.clock = RedisClock(clock, metrics.CLOCK_SKEW.set)
        self._headroom = Headroom(client, self.clock)
        self._unmapped = Unmapped(client)
        self._rare_lines = logs.RareLines()

    def synchronize(self) -> None:
        """Reads Redis' clock, before the first request. Raises RedisError."""
        self._headroom.poll()

    def receive(self, source: Source, request: WebhookRequest) -> WebhookReply:
        """The verdicts on the request's elements, once Redis has recorded them.

        Raises RequestError for the request as a whole, StoreUnavailable if Redis did not record it.
        """
        route = "/v1/<call>" if request.context.call else "/webhooks/<name>"
        with self._traces.request(source.name, request.headers.get("traceparent"), route):
            reply = self._receive(source, request)
            tracing.set_http_status(200)
            return reply

    def _receive(self, source: Source, request: WebhookRequest) -> WebhookReply:
        self._verify(source, request.body, request.headers)
        body = self._unpack(source, request)
        verdicts = self._read(source, body, request.received_at, request.context)
        reply, meters = WebhookReply(refusals=[]), metrics.source_metrics(source.name)
        events = self._sort(source, verdicts, reply)
        started = time.perf_counter()
        try:
            if events:
                self._headroom.require(trusted=source.settings.trust == "server")
            limits = build_limits(source.name, source.settings, events, request.remote_ip, self._planner.pii_key)
            trusted = source.settings.trust == "server"
            plans, failures = self._plan(source, body, request, verdicts, events, reply)
            self.recorder.write(plans, reply, limits)
            if reply.refused:
                self._quarantine_failed(source, [*verdicts, *failures], request.received_at, request.context)
        except RateLimited as error:
            self._count_limited(source, error)
            raise
        except RedisError as error:
            self.recorder.note_gap(source.settings.id_space)
            raise unavailable(error) from error
        except Exception:  # Redis has no room, or a fault of ours: it is answered 503, and the CDP comes again.
            self.recorder.write_gap(source.settings.id_space)
            raise
        if reply.ignored:
            verdicts = [verdict for verdict in verdicts if not is_own_outcome(verdict)]
            # After recording, once a minute and name: an error here must not fail what has been recorded.
            self._unmapped.note(source.name, verdicts, request.received_at)
            if trusted or events:
                # A page's requests without an event have been counted against no limit.
                shop = source.settings.id_space
                self._unmapped.note_on_trails(source.name, shop, verdicts, request.received_at, trusted=trusted)
        if events:
            meters.record.observe(time.perf_counter() - started)
            meters.last_event.set(request.received_at / 1000)
            newest = max(event.occurred_at for event in events)
            meters.delay.observe(max(0, request.received_at - newest) / 1000)
        for verdict in metrics.VERDICTS:
            count = getattr(reply, verdict)
            if count:
                tracing.annotate(**{verdict: count})
                meters.events[verdict].inc(count)
        if tracing.is_sampled():
            log.info(
                "webhook", source=source.name, **{verdict: getattr(reply, verdict) for verdict in metrics.VERDICTS}
            )
        return reply

    def replay_element(self, source: Source, element: quarantine.QuarantinedElement) -> WebhookReply:
        """Reads and records an element of the quarantine, without verifying it: it was authentic when it came.

        Raises RequestError where it still cannot be read, RedisError.
        """
        reply = WebhookReply(refusals=[])
        verdicts = self._read(source, element.raw, element.received_at, element.context)
        events = self._sort(source, verdicts, reply)
        request = WebhookRequest(element.raw, {}, element.received_at, element.context)
        plans, _ = self._plan(source, element.raw, request, verdicts, events, reply)
        self.recorder.write(plans, reply)
        return reply

    def _verify(self, source: Source, body: bytes, headers: Headers) -> None:
        started = time.perf_counter()
        try:
            source.verify(body, headers)
        except NotAuthentic as error:
            metrics.UNAUTHENTIC.labels(source.name, type(error).__name__).inc()
            if self._rare_lines.is_due(f"{source.name} {error.hint}"):
                log.warning("not_authentic", source=source.name, hint=error.hint)
            raise
        except RequestError as error:
            self.refuse(source, error, is_proven=False)
            raise
        finally:
            metrics.source_metrics(source.name).verify.observe(time.perf_counter() - started)

    def _unpack(self, source: Source, request: WebhookRequest) -> bytes:
        # Configured sources have one: their kind's, where the settings do not say it.
        max_bytes = source.settings.max_bytes or 0
        try:
            key = setting_name("sources", source.name, "max_bytes")
            return plain_body(request.body, request.encoding, max_bytes, f"{source.name}: batch less, or raise {key}")
        except RequestError as error:
            self.refuse(source, error)
            raise

    def _read(self, source: Source, body: bytes, received_at: int, context: RequestContext) -> Sequence[Verdict]:
        started = time.perf_counter()
        try:
            return source.read(body, received_at, context)
        except RequestError as error:
            self.refuse(source, error)
            raise
        finally:
            metrics.source_metrics(source.name).read.observe(time.perf_counter() - started)

    def refuse(self, source: Source, error: RequestError, *, is_proven: bool = True) -> None:
        """Counts and logs a body that is refused as a whole: the CDP drops it, so its events are lost.

        is_proven  the source has sent it; else anybody may have, and not each one is logged
        """
        metrics.REQUESTS_REFUSED.labels(source.name, str(error.status)).inc()
        if not is_proven and not self._rare_lines.is_due(f"{source.name} {error.status}"):
            return
        log.error("body_refused", source=source.name, status=error.status, reason=error.reason, hint=error.hint)

    def _sort(self, source: Source, verdicts: Sequence[Verdict], reply: WebhookReply) -> list[Event]:
        """The events to record; the other verdicts are counted into `reply`."""
        events = []
        for index, read in enumerate(verdicts):
            verdict = read
            if is_own_outcome(read):
                reply.ignored += 1
                continue
            if isinstance(read, Event):
                verdict = check_trust(read, self._planner.types[read.name], source.settings.trust)
            if isinstance(verdict, Event):
                events.append(verdict)
                if verdict.unreadable:
                    metrics.UNREADABLE.labels(source.name).inc(len(verdict.unreadable))
                if verdict.clamped:
                    metrics.CLAMPED.labels(source.name).inc()
                if source.settings.trust == "browser":
                    events[-1] = bound_page_data(verdict, self._planner.types[verdict.name], source.settings)
            elif isinstance(verdict, Ignored):
                reply.ignored += 1
            elif isinstance(verdict, Refused):
                reply.refused += 1
                reply.refusals.append({"index": index, "reason": verdict.reason})
                metrics.REFUSALS.labels(source.name, verdict.reason).inc()
        return events

    def _plan(
        self,
        source: Source,
        body: bytes,
        request: WebhookRequest,
        verdicts: Sequence[Verdict],
        events: Sequence[Event],
        reply: WebhookReply,
    ) -> tuple[list[Plan], list[Refused]]:
        """What the events change; and where a trigger's own code fails on some, the refused elements, counted."""
        trust = source.settings.trust
        plan = partial(self.recorder.plan, replay=request.replay, trusted=trust == "server")
        try:
            return plan(events), []
        except Exception:  # It must not cost the event's neighbours.
            plans, errors = plan_separately(events, plan)
        places = [index for index, verdict in enumerate(verdicts) if self._is_event(verdict, trust)]
        reply.refused += len(errors)
        reply.refusals += [{"index": places[place], "reason": "internal"} for place in errors]
        metrics.REFUSALS.labels(source.name, "internal").inc(len(errors))
        elements = failing_elements(source, body, request.received_at, request.context, plan)
        # Mostly it is the same fault in all of them; which is whose, `quarantine replay` shows.
        return plans, [failed(next(iter(errors.values())), element) for element in elements]

    def _is_event(self, verdict: Verdict, trust: str) -> bool:
        """Whether `_sort` takes the verdict for an event to record."""
        if not isinstance(verdict, Event) or is_own_outcome(verdict):
            return False
        return isinstance(check_trust(verdict, self._planner.types[verdict.name], trust), Event)

    def _quarantine_failed(
        self, source: Source, verdicts: Sequence[Verdict], received_at: int, context: RequestContext
    ) -> None:
        """Keeps the elements on which our own code failed, since the CDP will not send them again."""
        failed = [verdict for verdict in verdicts if isinstance(verdict, Refused) and verdict.raw]
        for verdict in failed:
            log.error("reading_failed", source=source.name, fault=verdict.fault)
        if failed:
            # It may be what withdraws a mail that waits: until it is replayed, such mails settle once more.
            self.recorder.write_gap(source.settings.id_space)
            elements = [
                quarantine.QuarantinedElement(source.name, verdict.raw, received_at, context) for verdict in failed
            ]
            quarantine.add_elements(self._client, elements)

    def _count_limited(self, source: Source, error: RateLimited) -> None:
        metrics.RATE_LIMITED.labels(source.name, error.limit).inc()
        hint = limit_hint(source.name, error.limit)
        if self._rare_lines.is_due(hint, LIMIT_LOG_INTERVAL_S):
            log.warning("rate_limited", source=source.name, limit=error.limit, hint=hint)


def is_own_outcome(verdict: Verdict) -> bool:
    """Whether a CDP sends back what we sent it: it is counted as ignored, and changes nothing."""
    return not isinstance(verdict, Refused) and is_outcome(verdict.message_id)


def check_trust(event: Event, event_type: EventType, trust: str) -> Event | Refused:
    """The event, or its refusal: it names nobody, or a source of that trust may not send it."""
    if not (event.user_id or event.anonymous_id or event.email):
        # Such as an Alias with a previous id alone.
        return Refused("no_identity")
    # A browser key is public, so it speaks for one device only: not for other persons, nor for their addresses.
    speaks_for_itself = event.anonymous_id is not None and not (
        event_type.effect or event_type.suppresses or event_type.lifts
    )
    return event if trust == "server" or speaks_for_itself else Refused("not_trusted")
