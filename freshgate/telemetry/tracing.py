"""Traces, from the webhook over the job to the ESP's answer, sent as OTLP. Off unless the settings name a collector.

The processes' roots make a `Traces`; `receive.py`, `courier.py` and whoever they call say what happens. docs/TRACING.md
shows the spans. What is not sampled makes no span. No person and no address ever stands in one.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import Any

import structlog
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from freshgate.errors import RequestError
from freshgate.settings import Settings
from freshgate.telemetry import logs, metrics
from freshgate.version import VERSION

log = logs.get(__name__)

_HEADERS = TraceContextTextMapPropagator()
# Exports wait in a thread of their own; what does not fit is dropped, and counted.
MAX_QUEUED_SPANS = 2048
# A process that ends waits for one or two exports, and must be gone before it is killed (10 s).
EXPORT_WITHIN_S = 3.0
WARNING_INTERVAL_S = 60.0
STATUS, MESSAGE_ID = "http.response.status_code", "messaging.message.id"
_NOTHING: AbstractContextManager[None] = nullcontext()
_span: ContextVar[Span | None] = ContextVar("span", default=None)


class Traces:
    """Makes spans for a share of what happens. Without a provider none, and each call costs a look."""

    def __init__(
        self,
        provider: TracerProvider | None = None,
        ratio: float = 1.0,
        chance: Callable[[], float] = random.random,
        bounded: Bounded | None = None,
    ) -> None:
        self._provider = provider
        self._bounded = bounded
        self._tracer = provider.get_tracer("freshgate", VERSION) if provider else None
        self._ratio = ratio
        self._chance = chance

    def request(self, source: str, traceparent: str | None, route: str = "") -> AbstractContextManager[None]:
        """One webhook. The caller's trace is continued, but whether ours is sampled is for us to say."""
        if self._tracer is None or self._chance() >= self._ratio:
            return _NOTHING
        told = {"freshgate.source": source, "http.request.method": "POST", "http.route": route}
        return self._spanned("webhook", SpanKind.SERVER, told, parent=traceparent or "")

    def producing(self, queue: str, sends: int) -> AbstractContextManager[None]:
        """A job is written for these sends; `set_job_id` says which it was."""
        if _span.get() is None:
            return _NOTHING
        return self._spanned(f"send {queue}", SpanKind.PRODUCER, _messaging("send", queue, sends))

    def job(self, queue: str, sends: int, traceparent: str, job_id: str) -> AbstractContextManager[None]:
        """A job is carried out; it says whose trace it belongs to, if that is sampled."""
        if self._tracer is None or not traceparent:
            return _NOTHING
        told = _messaging("process", queue, sends) | {MESSAGE_ID: job_id}
        return self._spanned(f"process {queue}", SpanKind.CONSUMER, told, parent=traceparent)

    def send(self, trigger: str, origin: str) -> AbstractContextManager[None]:
        """One send is decided. Where its job has no trace (a timer came due) it is one of its own, that names the
        trace of the event which set the timer: `origin`."""
        if self._tracer is None or not (origin or _span.get()):
            return _NOTHING
        told = {"freshgate.trigger": trigger}
        if _span.get() is not None:
            return self._spanned("decide", SpanKind.INTERNAL, told)
        found = _context(origin)
        links = [Link(found)] if found.is_valid else []
        return self._spanned("process timer", SpanKind.CONSUMER, {**told, "messaging.system": "rq"}, links=links)

    def call(self, esp: str, send: str) -> AbstractContextManager[None]:
        """One call of an ESP."""
        if _span.get() is None:
            return _NOTHING
        return self._spanned(f"call {esp}", SpanKind.CLIENT, {"freshgate.esp": esp, "freshgate.send": send})

    def close(self) -> None:
        """Send what waits, within a few seconds; a collector that is known to be down is not waited for."""
        if self._bounded is not None:
            self._bounded.closing = True
        if self._provider is not None:
            self._provider.shutdown()

    @contextmanager
    def _spanned(
        self, name: str, kind: SpanKind, told: Mapping[str, Any], parent: str = "", links: Sequence[Link] = ()
    ) -> Iterator[None]:
        assert self._tracer is not None
        around = _span.get()
        context = set_span_in_context(around) if around else _HEADERS.extract({"traceparent": parent})
        span = self._tracer.start_span(name, context, kind, told, links)
        ids = span.get_span_context()
        token = _span.set(span)
        with structlog.contextvars.bound_contextvars(trace_id=f"{ids.trace_id:032x}", span_id=f"{ids.span_id:016x}"):
            try:
                yield
            except BaseException as error:
                status = getattr(error, "status", None)
                if status is not None:
                    span.set_attribute(STATUS, status)
                # What the caller did wrong is no error of a server (the semantic conventions for HTTP).
                if not isinstance(error, RequestError):
                    # Its text may hold what no span may.
                    span.set_attribute("error.type", type(error).__name__)
                    span.set_status(Status(StatusCode.ERROR))
                raise
            finally:
                _span.reset(token)
                span.end()


OFF = Traces()


def traceparent() -> str:
    """What a job or a timer carries along: the present span, as the W3C's header has it; empty if there is none."""
    span = _span.get()
    if span is None:
        return ""
    carrier: dict[str, str] = {}
    _HEADERS.inject(carrier, set_span_in_context(span))
    return carrier.get("traceparent", "")


def annotate(*, failed: bool = False, **told: str | int) -> None:
    """Say more about the present span, if there is one: `annotate(outcome="stale")` is its attribute freshgate.outcome."""
    span = _span.get()
    if span is None:
        return
    span.set_attributes({f"freshgate.{name}": value for name, value in told.items()})
    if failed:
        span.set_status(Status(StatusCode.ERROR))


def set_http_status(status: int) -> None:
    """The status of an HTTP answer: of the ESP's to us, or of ours to the CDP."""
    span = _span.get()
    if span is not None:
        span.set_attribute(STATUS, status)


def set_job_id(job_id: str) -> None:
    """Which job it was that the present span wrote."""
    span = _span.get()
    if span is not None:
        span.set_attribute(MESSAGE_ID, job_id)


def exemplar() -> dict[str, str] | None:
    """What ties an observation to the trace that it was made in, if there is one."""
    span = _span.get()
    return None if span is None else {"trace_id": f"{span.get_span_context().trace_id:032x}"}


def setup(settings: Settings, process: str) -> Traces:
    """For one process, after it has forked: the exporter has a thread."""
    if not settings.otlp_endpoint:
        return OFF
    # It brings an HTTP client along, that nobody else here needs.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    endpoint = settings.otlp_endpoint.rstrip("/") + "/v1/traces"
    provider = TracerProvider(
        resource=Resource.create(
            {"service.name": "freshgate", "service.version": VERSION, "freshgate.process": process}
        ),
        # We have decided already. By default a caller's "not sampled" would undo that, and flags of 00 travel on.
        sampler=ALWAYS_ON,
        shutdown_on_exit=False,
    )
    bounded = Bounded(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_WITHIN_S))
    provider.add_span_processor(bounded.processor)
    # It has a line for each attempt and each batch; `Bounded` says the same once a minute.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    return Traces(provider, settings.trace_ratio, bounded=bounded)


class Bounded(SpanExporter):
    """An exporter with its queue. What does not fit or is not taken is counted, and told once a minute.

    So a collector that is down is neither waited for, nor a flood of logs.
    """

    def __init__(self, exporter: SpanExporter, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._exporter = exporter
        self._clock_s = clock_s
        self._told_at = float("-inf")
        self._waiting = 0
        self._down = False
        self._lock = threading.Lock()
        self.closing = False
        self.processor = _Queue(self, max_queue_size=MAX_QUEUED_SPANS)

    def admit(self) -> bool:
        """Whether one more span may wait."""
        with self._lock:
            if self._waiting < MAX_QUEUED_SPANS:
                self._waiting += 1
                return True
        self._lose(1)
        return False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self._lock:
            self._waiting -= len(spans)
        result = SpanExportResult.FAILURE
        if not (self.closing and self._down):
            # Whatever it raises must not end the thread that exports.
            with suppress(Exception):
                result = self._exporter.export(spans)
        self._down = result is not SpanExportResult.SUCCESS
        if self._down:
            self._lose(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def _lose(self, spans: int) -> None:
        metrics.SPANS_LOST.inc(spans)
        with self._lock:
            now = self._clock_s()
            silent = now - self._told_at < WARNING_INTERVAL_S
            if not silent:
                self._told_at = now
        if not silent:
            log.warning("spans_lost", hint="the collector of FRESHGATE_OTLP_ENDPOINT does not take all of them")


class _Queue(BatchSpanProcessor):
    """The SDK's, which would drop without counting and log each time."""

    def __init__(self, bounded: Bounded, max_queue_size: int) -> None:
        super().__init__(bounded, max_queue_size=max_queue_size)
        self._bounded = bounded

    def on_end(self, span: ReadableSpan) -> None:
        if self._bounded.admit():
            super().on_end(span)


def _messaging(operation: str, queue: str, sends: int) -> dict[str, str | int]:
    """https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/"""
    return {
        "messaging.system": "rq",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "freshgate.sends": sends,
    }


def _context(traceparent_of: str) -> Any:
    return get_current_span(_HEADERS.extract({"traceparent": traceparent_of})).get_span_context()
