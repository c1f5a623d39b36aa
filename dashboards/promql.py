"""Builders of PromQL expressions from the metrics' own objects, so that every name and label exists.

Boards and alerts use them; `tests/dashboards/` parses the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

from freshgate.telemetry.polled import PolledMetric

# Grafana replaces it by a window of at least four scrapes.
WINDOW = "$__rate_interval"
# The objective of 5 s, as the histograms write the label `le`. "5" would match nothing.
OBJECTIVE_LE = "5.0"


@dataclass(frozen=True)
class Foreign:
    """A series of the Flask exporter, of Prometheus itself, or of a recording rule."""

    name: str
    labels: tuple[str, ...] = ()


# adapter/app.py sets the prefix of these two.
REQUESTS = Foreign("freshgate_receiver_http_request_total", ("method", "status"))
REQUEST_TIME = Foreign("freshgate_receiver_http_request_duration_seconds", ("method", "status", "url_rule"))
UP = Foreign("up", ("job", "instance"))
SCRAPE_TIME = Foreign("scrape_duration_seconds", ("job", "instance"))
ALERTS = Foreign("ALERTS", ("alertname", "alertstate", "severity"))
FOREIGN = (REQUESTS, REQUEST_TIME, UP, SCRAPE_TIME, ALERTS)

Metric = Counter | Gauge | Histogram | PolledMetric | Foreign


def name_of(metric: Metric) -> str:
    """The exported name, without `_bucket`, `_sum` and `_count`."""
    if isinstance(metric, Foreign):
        return metric.name
    (family,) = metric.describe()
    return str(family.name) + ("_total" if family.type == "counter" else "")


def labels_of(metric: Metric) -> tuple[str, ...]:
    return metric.labels if isinstance(metric, Foreign) else tuple(metric._labelnames)


def selector(metric: Metric, part: str = "", **labels: str) -> str:
    """Selects the series with these labels; a value that begins with `~` is a pattern.

    part: bucket, sum or count of a histogram. Raises ValueError for a label that the metric does not have.
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


def rate(metric: Metric, by: Sequence[str] = (), part: str = "", window: str = WINDOW, **labels: str) -> str:
    """A counter's rate per second, summed over all processes."""
    return f"sum{_by(by)} (rate({selector(metric, part, **labels)}[{window}]))"


def increase(metric: Metric, by: Sequence[str] = (), part: str = "", window: str = "$__range", **labels: str) -> str:
    """The growth of a counter in the window, summed over all processes."""
    return f"sum{_by(by)} (increase({selector(metric, part, **labels)}[{window}]))"


def highest(gauge: Metric, by: Sequence[str] = (), **labels: str) -> str:
    """A gauge that every timers process serves with the same value, so that a sum would be wrong."""
    return f"max{_by(by)} ({selector(gauge, **labels)})"


def lowest(gauge: Metric, by: Sequence[str] = (), **labels: str) -> str:
    """The smallest value of a gauge over all processes."""
    return f"min{_by(by)} ({selector(gauge, **labels)})"


def quantile(q: float, histogram: Metric, by: Sequence[str] = (), **labels: str) -> str:
    """The q-quantile of a histogram (0.95: p95), in seconds."""
    return f"histogram_quantile({q}, {rate(histogram, ('le', *by), 'bucket', **labels)})"


def ratio(part: str, whole: str) -> str:
    """part / whole, and 0 while nothing happens."""
    return f"{part} / clamp_min({whole}, 1e-9)"


def _by(labels: Sequence[str]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""
