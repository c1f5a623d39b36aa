"""Traces from the webhook through the job to the ESP's reply, sent as OTLP. Off unless the settings name a collector.

The composition roots call `setup`; `receive.py`, `record.py` and `courier.py` open the spans of docs/TRACING.md;
`exporter.py` sends them. What is not sampled makes no span. No span ever holds a person or an address.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import structlog
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from freshgate.errors import RequestError
from freshgate.settings import Settings
from freshgate.telemetry.exporter import EXPORT_TIMEOUT_S, BoundedExporter
from freshgate.version import VERSION

_HEADERS = TraceContextTextMapPropagator()
STATUS, MESSAGE_ID = "http.response.status_code", "messaging.message.id"
_span: ContextVar[Span | None] = ContextVar("span", default=None)


class OpenSpan:
    """A span that is present only within `active`, any number of times until its `end`: that of a send in a batch."""

    def __init__(self, span: Span) -> None:
        self.span = span

    @contextmanager
    def active(self) -> Iterator[None]:
        """Makes this the present span. An exception that passes marks it as failed."""
        ids = self.span.get_span_context()
        token = _span.set(self.span)
        with structlog.contextvars.bound_contextvars(trace_id=f"{ids.trace_id:032x}", span_id=f"{ids.span_id:016x}"):
            try:
                yield
            except BaseException as error:
                status = getattr(error, "status", None)
                if status is not None:
                    self.span.set_attribute(STATUS, status)
                # The caller's fault is not an error of the server, say the semantic conventions for HTTP.
                if not isinstance(error, RequestError):
                    # The type only: the text may hold an address.
                    self.span.set_attribute("error.type", type(error).__name__)
                    self.span.set_status(Status(StatusCode.ERROR))
                raise
            finally:
                _span.reset(token)

    def end(self) -> None:
        self.span.end()


class NoSpan(nullcontext[None]):
    """What is not sampled; in place of an OpenSpan, too."""

    def active(self) -> AbstractContextManager[None]:
        return self

    def end(self) -> None:
        pass


_NO_SPAN = NoSpan()


class Traces:
    """Opens spans for a sampled share of the requests, each method one kind of span.

    provider  None turns tracing off: each method then costs one comparison
    ratio     share of the requests that are sampled, 0 to 1
    chance    draws a number from 0 to 1; tests pass their own
    exporter  what `close` must not wait for when its collector is down
    """

    def __init__(
        self,
        provider: TracerProvider | None = None,
        ratio: float = 1.0,
        chance: Callable[[], float] = random.random,
        exporter: BoundedExporter | None = None,
    ) -> None:
        self._provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer("freshgate", VERSION) if provider else None
        self._ratio = ratio
        self._chance = chance

    def request(self, source: str, traceparent: str | None, route: str = "") -> AbstractContextManager[None]:
        """A webhook. It continues the caller's trace, but our own ratio decides whether it is sampled."""
        if self._tracer is None or self._chance() >= self._ratio:
            return _NO_SPAN
        attributes = {"freshgate.source": source, "http.request.method": "POST", "http.route": route}
        return self._open("webhook", SpanKind.SERVER, attributes, parent=traceparent or "")

    def producing(self, queue: str, sends: int) -> AbstractContextManager[None]:
        """Writing a job for `sends` sends; `set_job_id` then adds its id."""
        if _span.get() is None:
            return _NO_SPAN
        return self._open(f"send {queue}", SpanKind.PRODUCER, _messaging("send", queue, sends))

    def job(self, queue: str, sends: int, traceparent: str, job_id: str) -> AbstractContextManager[None]:
        """Carrying out a job; `traceparent` is what the job carries, empty if its request was not sampled."""
        if self._tracer is None or not traceparent:
            return _NO_SPAN
        attributes = _messaging("process", queue, sends) | {MESSAGE_ID: job_id}
        return self._open(f"process {queue}", SpanKind.CONSUMER, attributes, parent=traceparent)

    def send(self, trigger: str, origin: str) -> OpenSpan | NoSpan:
        """Deciding one send. Where its job has no trace (a timer came due), the span begins a trace of its own, linked
        to the event that set the timer: `origin` is that event's traceparent. The caller ends it."""
        if self._tracer is None or not (origin or _span.get()):
            return _NO_SPAN
        attributes = {"freshgate.trigger": trigger}
        if _span.get() is not None:
            return self._start("decide", SpanKind.INTERNAL, attributes)
        context = _parse_context(origin)
        links = [Link(context)] if context.is_valid else []
        return self._start("process timer", SpanKind.CONSUMER, {**attributes, "messaging.system": "rq"}, links=links)

    def call(self, esp: str, send: str, neighbours: Sequence[OpenSpan | NoSpan] = ()) -> AbstractContextManager[None]:
        """One call to an ESP account.

        send        id of the send, or of the first in a batch, whose span is the present one
        neighbours  the spans of the other sends in the batch
        """
        if _span.get() is None:
            return _NO_SPAN
        attributes = {"freshgate.esp": esp, "freshgate.send": send, "freshgate.sends": 1 + len(neighbours)}
        links = [Link(other.span.get_span_context()) for other in neighbours if isinstance(other, OpenSpan)]
        return self._open(f"call {esp}", SpanKind.CLIENT, attributes, links=links)

    def close(self) -> None:
        """Exports what waits, within a few seconds; does not wait for a collector that is known to be down."""
        if self._exporter is not None:
            self._exporter.closing = True
        if self._provider is not None:
            self._provider.shutdown()

    @contextmanager
    def _open(self, *arguments: Any, **options: Any) -> Iterator[None]:
        span = self._start(*arguments, **options)
        try:
            with span.active():
                yield
        finally:
            span.end()

    def _start(
        self, name: str, kind: SpanKind, attributes: Mapping[str, Any], parent: str = "", links: Sequence[Link] = ()
    ) -> OpenSpan:
        assert self._tracer is not None  # nosec B101  # for mypy
        outer = _span.get()
        context = set_span_in_context(outer) if outer else _HEADERS.extract({"traceparent": parent})
        return OpenSpan(self._tracer.start_span(name, context, kind, attributes, links))


OFF = Traces()


def traceparent() -> str:
    """The present span as a W3C `traceparent`, for a job or a timer to carry along; empty if there is none."""
    span = _span.get()
    if span is None:
        return ""
    carrier: dict[str, str] = {}
    _HEADERS.inject(carrier, set_span_in_context(span))
    return carrier.get("traceparent", "")


def is_sampled() -> bool:
    """Whether there is a present span: then a line of the log leads to its trace, and the trace to the line."""
    return _span.get() is not None


def annotate(*, failed: bool = False, **attributes: str | int) -> None:
    """Adds attributes to the present span, if there is one: `annotate(outcome="stale")` sets `freshgate.outcome`."""
    span = _span.get()
    if span is None:
        return
    span.set_attributes({f"freshgate.{name}": value for name, value in attributes.items()})
    if failed:
        span.set_status(Status(StatusCode.ERROR))


def set_http_status(status: int) -> None:
    """Sets the present span's HTTP status: of our reply to the CDP, or of the ESP's reply to us."""
    span = _span.get()
    if span is not None:
        span.set_attribute(STATUS, status)


def set_job_id(job_id: str) -> None:
    """Sets the id of the job that the present span wrote."""
    span = _span.get()
    if span is not None:
        span.set_attribute(MESSAGE_ID, job_id)


def exemplar() -> dict[str, str] | None:
    """The exemplar that ties an observation of a metric to its trace; None outside of a sampled one."""
    span = _span.get()
    return None if span is None else {"trace_id": f"{span.get_span_context().trace_id:032x}"}


def setup(settings: Settings, process: str) -> Traces:
    """The traces of one process. Call it after a fork: the exporter has a thread.

    process  "receiver" or "worker"; an attribute of every span
    """
    if not settings.otlp_endpoint:
        return OFF
    # Imported only where it is used: it brings an HTTP client along.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    endpoint = settings.otlp_endpoint.rstrip("/") + "/v1/traces"
    provider = TracerProvider(
        resource=Resource.create(
            {"service.name": "freshgate", "service.version": VERSION, "freshgate.process": process}
        ),
        # `Traces` has sampled already. By default a caller's "not sampled" would undo that, and flags of 00 travel on.
        sampler=ALWAYS_ON,
        shutdown_on_exit=False,
    )
    exporter = BoundedExporter(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_S))
    provider.add_span_processor(exporter.processor)
    # It logs each attempt and each batch; BoundedExporter says the same once a minute.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    return Traces(provider, settings.trace_ratio, exporter=exporter)


def _messaging(operation: str, queue: str, sends: int) -> dict[str, str | int]:
    """Attributes of a span about a queue: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/"""
    return {
        "messaging.system": "rq",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": queue,
        "freshgate.sends": sends,
    }


def _parse_context(header: str) -> Any:
    return get_current_span(_HEADERS.extract({"traceparent": header})).get_span_context()
