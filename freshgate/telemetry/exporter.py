"""Exports spans in the background: nobody waits for a collector that is slow or down, and what is lost is counted.

`tracing.setup` puts it around OpenTelemetry's own exporter.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from freshgate.telemetry import logs, metrics

log = logs.get(__name__)

# Spans that wait for their export; what does not fit is dropped, and counted.
MAX_QUEUED_SPANS = 2048
# A process that ends waits for one or two exports, and must be gone before it is killed (10 s).
EXPORT_TIMEOUT_S = 3.0
WARNING_INTERVAL_S = 60.0


class BoundedExporter(SpanExporter):
    """An exporter and its queue, `processor`. Spans that do not fit or are not taken are counted, and logged once a
    minute: a collector that is down must not become a flood of log lines.

    closing  True while the process ends: a collector that did not take the last batch is not asked any more
    """

    def __init__(self, exporter: SpanExporter, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._exporter = exporter
        self._clock_s = clock_s
        self._warned_at = float("-inf")
        self._waiting = 0
        self._is_down = False
        self._lock = threading.Lock()
        self.closing = False
        self.processor = _BoundedProcessor(self, max_queue_size=MAX_QUEUED_SPANS)

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
        if not (self.closing and self._is_down):
            # Whatever it raises must not end the thread that exports.
            with suppress(Exception):
                result = self._exporter.export(spans)
        self._is_down = result is not SpanExportResult.SUCCESS
        if self._is_down:
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
            is_silent = now - self._warned_at < WARNING_INTERVAL_S
            if not is_silent:
                self._warned_at = now
        if not is_silent:
            log.warning(
                "spans_lost", hint="the collector at FRESHGATE_OTLP_ENDPOINT does not take all spans: is it running?"
            )


class _BoundedProcessor(BatchSpanProcessor):
    """The SDK's processor, which by itself would drop spans without counting them and log each time."""

    def __init__(self, exporter: BoundedExporter, max_queue_size: int) -> None:
        super().__init__(exporter, max_queue_size=max_queue_size)
        self._bounded = exporter

    def on_end(self, span: ReadableSpan) -> None:
        if self._bounded.admit():
            super().on_end(span)
