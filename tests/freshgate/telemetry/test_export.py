"""Spans leave in the background: a collector that is down, hangs or is slow costs no time; losses are counted."""

from __future__ import annotations

import io
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from freshgate.settings import Settings
from freshgate.telemetry import exporter, logs, metrics, tracing
from tests.freshgate.telemetry.collector import Collector


@pytest.fixture
def hanging() -> Iterator[str]:
    """The URL of something that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def start_traces(url: str) -> tracing.Traces:
    return tracing.setup(Settings(otlp_endpoint=url, trace_ratio=1.0), "worker")


def requests(traces: tracing.Traces, count: int) -> float:
    """Opens `count` spans; returns the seconds that they took."""
    started = time.perf_counter()
    for _ in range(count):
        with traces.request("segment", None):
            pass
    return time.perf_counter() - started


def lost() -> float:
    (family,) = metrics.SPANS_LOST.collect()
    (value,) = [sample.value for sample in family.samples if sample.name.endswith("_total")]
    return value


def test_without_an_endpoint_there_is_no_provider_and_no_thread() -> None:
    threads = threading.active_count()
    assert tracing.setup(Settings(), "worker") is tracing.OFF
    assert threading.active_count() == threads


def test_what_waits_is_sent_when_the_process_ends() -> None:
    before = lost()
    with Collector() as collector:
        traces = start_traces(collector.url + "/")
        requests(traces, 700)
        traces.close()
        assert len(collector.spans) == 700
    assert lost() == before


def test_a_collector_that_hangs_holds_up_neither_work_nor_the_end(hanging: str) -> None:
    before = lost()
    traces = start_traces(hanging)
    # Ten times what it takes; one export that was waited for would be 3 s.
    assert requests(traces, exporter.MAX_QUEUED_SPANS * 2) < 2.0
    started = time.monotonic()
    traces.close()
    # The export that was under way, and one that finds out; a process is killed after 10 s.
    assert time.monotonic() - started < 2 * exporter.EXPORT_TIMEOUT_S + 2
    assert lost() - before == exporter.MAX_QUEUED_SPANS * 2


def test_a_collector_that_is_down_is_one_line_of_log(
    free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    logs.configure("info", json=True)
    before = lost()
    traces = start_traces(f"http://127.0.0.1:{free_port()}")
    requests(traces, 3000)
    traces.close()
    assert [json.loads(line)["event"] for line in written.getvalue().splitlines()] == ["spans_lost"]
    assert lost() - before == 3000


class FlakyExporter(SpanExporter):
    """Fails the first `failures` exports."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.failures:
            self.failures -= 1
            raise OSError("gone")
        self.taken += len(spans)
        return SpanExportResult.SUCCESS


def test_a_collector_that_comes_back_is_used_again() -> None:
    flaky = FlakyExporter(failures=1)
    bounded = exporter.BoundedExporter(flaky)
    spans: list[ReadableSpan] = [ReadableSpan("request")]
    assert bounded.export(spans) is SpanExportResult.FAILURE
    assert bounded.export(spans) is SpanExportResult.SUCCESS
    bounded.closing = True
    assert bounded.export(spans) is SpanExportResult.SUCCESS
    assert flaky.taken == 2
    bounded.processor.shutdown()


def test_a_second_loss_within_a_minute_is_counted_but_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    logs.configure("info", json=True)
    clock = [100.0]
    bounded = exporter.BoundedExporter(FlakyExporter(failures=3), clock_s=lambda: clock[0])
    before = lost()
    for later_s, lines in ((0.0, 1), (exporter.WARNING_INTERVAL_S - 1, 1), (exporter.WARNING_INTERVAL_S, 2)):
        clock[0] = 100.0 + later_s
        bounded.export([ReadableSpan("request")])
        assert len(written.getvalue().splitlines()) == lines
    assert lost() - before == 3
    bounded.processor.shutdown()
