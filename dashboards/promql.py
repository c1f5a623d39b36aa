"""Expressions of PromQL, from the metrics' own objects: a name or a label that does not exist cannot be written.

boards and alerts are made with it; `tests/dashboards/` parses what comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

from freshgate.telemetry.metrics import PolledMetric

# Grafana puts in a window that holds at least four scrapes.
WINDOW = "$__rate_interval"
# The objective of 5 s, as the histograms write it. "5" would match nothing.
OBJECTIVE_LE = "5.0"


@dataclass(frozen=True)
class Foreign:
    """A series that is not ours: of the Flask exporter, of Prometheus itself, or of a recording rule."""

    name: str
    labels: tuple[str, ...] = ()


# Flask's exporter names them by its prefix, which adapter/app.py sets.
REQUESTS = Foreign("freshgate_receiver_http_request_total", ("method", "status"))
REQUEST_TIME = Foreign("freshgate_receiver_http_request_duration_seconds", ("method", "status", "url_rule"))
UP = Foreign("up", ("job", "instance"))
SCRAPE_TIME = Foreign("scrape_duration_seconds", ("job", "instance"))
ALERTS = Foreign("ALERTS", ("alertname", "alertstate", "severity"))
FOREIGN = (REQUESTS, REQUEST_TIME, UP, SCRAPE_TIME, ALERTS)

Metric = Counter | Gauge | Histogram | PolledMetric | Foreign


def name_of(metric: Metric) -> str:
    """As it is exported, without `_bucket`, `_sum` and `_count`."""
    if isinstance(metric, Foreign):
        return metric.name
    (family,) = metric.describe()
    return str(family.name) + ("_total" if family.type == "counter" else "")


def labels_of(metric: Metric) -> tuple[str, ...]:
    return metric.labels if isinstance(metric, Foreign) else tuple(metric._labelnames)


def pick(metric: Metric, part: str = "", **labels: str) -> str:
    """The series with these labels; a value that begins with `~` is a pattern.

    part  of a histogram: bucket, sum or count. Raises ValueError for a label that the metric does not have.
    """
    known = (*labels_of(metric), *(["le"] if part == "bucket" else []))
    unknown = set(labels) - set(known)
    if unknown:
        raise ValueError(f"{name_of(metric)} has no label {', '.join(sorted(unknown))}")
    matchers = []
    for label, value in labels.items():
        operator = "=~" if value.startswith("~") else "="
        matchers.append(f'{label}{operator}"{value.removeprefix("~")}"')
    full = name_of(metric) + (f"_{part}" if part else "")
    return full + (f"{{{','.join(matchers)}}}" if matchers else "")


def total(metric: Metric, by: Sequence[str] = (), part: str = "", window: str = WINDOW, **labels: str) -> str:
    """A counter's rate (per second), summed over all processes."""
    return f"sum{_by(by)} (rate({pick(metric, part, **labels)}[{window}]))"


def increase(metric: Metric, by: Sequence[str] = (), part: str = "", window: str = "$__range", **labels: str) -> str:
    """By how much a counter grew, summed over all processes."""
    return f"sum{_by(by)} (increase({pick(metric, part, **labels)}[{window}]))"


def highest(reading: Metric, by: Sequence[str] = (), **labels: str) -> str:
    """A reading: all timers processes say the same, so never a sum over them."""
    return f"max{_by(by)} ({pick(reading, **labels)})"


def quantile(q: float, histogram: Metric, by: Sequence[str] = (), **labels: str) -> str:
    """That so many observations are below, in seconds."""
    return f"histogram_quantile({q}, {total(histogram, ('le', *by), 'bucket', **labels)})"


def ratio(part: str, whole: str) -> str:
    """0 while nothing happens, and not nothing."""
    return f"{part} / clamp_min({whole}, 1e-9)"


def _by(labels: Sequence[str]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""
