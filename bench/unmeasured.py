"""The receiver and the worker as they are, but that their metrics do nothing: what `observability.py` compares with.

gunicorn serves `bench.unmeasured:receiver()`. `python -m bench.unmeasured` is a worker that has metrics for every other
job, and says what CPU each job took.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from flask import Flask
from prometheus_client import Counter, Gauge, Histogram
from rq import Queue
from rq.job import Job

from adapter import app
from freshgate.telemetry import metrics
from workers import main
from workers.__main__ import run
from workers.rq_worker import DeliverWorker

METRICS = {name: one for name, one in vars(metrics).items() if isinstance(one, Counter | Gauge | Histogram)}


class Nothing:
    """Takes what a metric takes."""

    taken = 0

    def labels(self, *_values: str) -> Nothing:
        return self

    def inc(self, *_amount_and_exemplar: object) -> None:
        Nothing.taken += 1

    observe = set = inc


NOTHING = Nothing()


def silence() -> None:
    """From now on this process counts nothing: the others ask the module `metrics` for them by name each time."""
    for name in METRICS:
        setattr(metrics, name, NOTHING)


def restore() -> None:
    for name, one in METRICS.items():
        setattr(metrics, name, one)


def receiver() -> Flask:
    """The app without its exporter."""
    silence()
    for exporter in ("GunicornPrometheusMetrics", "PrometheusMetrics"):
        setattr(app, exporter, _no_exporter)
    return app.from_environment()


def _no_exporter(*_arguments: Any, **_options: Any) -> None:
    """In the place of the Flask exporter."""


class EveryOther(DeliverWorker):
    """Two jobs in a row are a pair: one with metrics, one without, in one process, so that nothing else differs."""

    jobs = 0

    def execute_job(self, job: Job, queue: Queue) -> None:
        self.jobs += 1
        # Who is first alternates from pair to pair.
        measured = self.jobs % 4 < 2
        (restore if measured else silence)()
        begun, taken = time.process_time_ns(), Nothing.taken
        super().execute_job(job, queue)
        spent = time.process_time_ns() - begun
        if not measured and Nothing.taken == taken:
            raise RuntimeError("the worker's metrics could not be switched off")
        print("cpu", "with" if measured else "without", spent, flush=True)


if __name__ == "__main__":
    main.DeliverWorker = EveryOther  # type: ignore[attr-defined]  # in this process only, to compare
    sys.exit(run(["deliver"]))
