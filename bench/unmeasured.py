"""The receiver and the worker with metrics that do nothing: the reference of `observability.py`.

gunicorn serves `bench.unmeasured:receiver()`. `python -m bench.unmeasured` is a worker that has metrics for every other
chunk of sends, and prints the CPU that each took. It must have a single lane.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from flask import Flask
from prometheus_client import Counter, Gauge, Histogram

from adapter import app
from freshgate.telemetry import metrics
from workers import main
from workers.__main__ import run
from workers.courier import Courier

METRICS = {name: value for name, value in vars(metrics).items() if isinstance(value, Counter | Gauge | Histogram)}


class NullMetric:
    """Has a metric's methods, and only counts their calls."""

    calls = 0

    def labels(self, *_values: str) -> NullMetric:
        return self

    def inc(self, *_amount_and_exemplar: object) -> None:
        NullMetric.calls += 1

    observe = set = inc


NULL_METRIC = NullMetric()


def disable_metrics() -> None:
    """Replaces all metrics in this process. It works since everybody reads them from the module by name each time."""
    for name in METRICS:
        setattr(metrics, name, NULL_METRIC)


def enable_metrics() -> None:
    """Undoes `disable_metrics`."""
    for name, metric in METRICS.items():
        setattr(metrics, name, metric)


def receiver() -> Flask:
    """The app without metrics and their exporter."""
    disable_metrics()
    for exporter in ("GunicornPrometheusMetrics", "PrometheusMetrics"):
        setattr(app, exporter, _no_exporter)
    return app.from_environment()


def _no_exporter(*_arguments: Any, **_options: Any) -> None:
    """Replaces the Flask exporter."""


class AlternatingCourier(Courier):
    """Two successive chunks are a pair, one with metrics, one without. In one process, so that nothing else differs."""

    chunks = 0

    def carry_out(self, *arguments: Any) -> None:
        self.chunks += 1
        # Which one is first alternates from pair to pair.
        has_metrics = self.chunks % 4 < 2
        (enable_metrics if has_metrics else disable_metrics)()
        started, calls = time.process_time_ns(), NullMetric.calls
        super().carry_out(*arguments)
        cpu_ns = time.process_time_ns() - started
        if not has_metrics and NullMetric.calls == calls:
            raise RuntimeError("the worker's metrics could not be switched off")
        print("cpu", "with" if has_metrics else "without", cpu_ns, flush=True)


if __name__ == "__main__":
    main.Courier = AlternatingCourier  # type: ignore[attr-defined]  # in this process only, to compare
    sys.exit(run(["deliver"]))
