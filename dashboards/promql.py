"""Builders of PromQL expressions from the metrics' own objects, so that every name and label exists.

Boards and alerts use them; `tests/dashboards/` parses the result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

from freshgate.telemetry import metrics
from freshgate.telemetry.polled import PolledMetric

# Labels that tell installations and processes apart, where one Prometheus holds several.
SCOPE = ("cluster", "namespace", "job", "instance")
INSTALLATION = SCOPE[:2]
# Grafana replaces it by a window of at least four scrapes.
WINDOW = "$__rate_interval"
# For a verdict: over the hours that the reader sees, a fault of four minutes would be a share of one percent.
OF_LATE = "5m"
# A present value that falls to 0 for seconds and is not well; see `recently_highest`.
RECENT = "2m"
# The objective of 5 s, as the histograms write the label `le`. "5" would match nothing.
OBJECTIVE_LE = "5.0"


@dataclass(frozen=True)
class Foreign:
    """A series of the Flask exporter, of Prometheus itself, or of a recording rule."""

    name: str
    labels: tuple[str, ...] = ()


# The labels that say whom an alert is about. The window of an objective is none of them.
CULPRITS = (
    *INSTALLATION,
    *("trigger", "source", "esp", "queue", "process", "job", "instance"),
    *("integration", "rule_group", "status", "limit"),
)
# adapter/app.py sets the prefix of these two.
REQUESTS = Foreign("freshgate_receiver_http_request_total", ("method", "status"))
REQUEST_TIME = Foreign("freshgate_receiver_http_request_duration_seconds", ("method", "status", "url_rule"))
UP = Foreign("up", ("job", "instance"))
# The names of the jobs that scrape our processes.
FRESHGATE_JOBS = "~freshgate.*"
SCRAPE_TIME = Foreign("scrape_duration_seconds", ("job", "instance"))
ALERTS = Foreign("ALERTS", ("alertname", "alertstate", "severity", "service", "runbooks", "slo", *CULPRITS))
ALERTS_SINCE = Foreign("ALERTS_FOR_STATE", ("alertname", "severity", "service", *CULPRITS))
NOTIFICATIONS_FAILED = Foreign("alertmanager_notifications_failed_total", ("integration", "job", "instance"))
RULES_FAILED = Foreign("prometheus_rule_evaluation_failures_total", ("rule_group", "job", "instance"))
FOREIGN = (
    NOTIFICATIONS_FAILED,
    RULES_FAILED,
    REQUESTS,
    REQUEST_TIME,
    UP,
    SCRAPE_TIME,
    ALERTS,
    ALERTS_SINCE,
)
# A series of ours, with its matchers; and an aggregation with its labels.
SERIES = re.compile(r"(?<![\w:])(freshgate[_:][\w:]+|up|scrape_duration_seconds|ALERTS\w*)(\{[^}]*\}|(?![\w{]))")
AGGREGATION = re.compile(r"\b(sum|min|max|count)(?: by \(([^)]*)\))? ?\(")
# What `without_idle` narrows: its labels, and its series.
IDLE_RATE = re.compile(r"(?:60 \* )?sum( by \([^)]*\)) \(rate\(([^\[]*)\[[^\]]*\]\)\)")
IDLE_QUANTILE = re.compile(
    r"histogram_quantile\([\d.]+, sum by \(le, ([^)]*)\) \(rate\((\w+)_bucket(\{[^}]*\})?\[[^\]]*\]\)\)\)"
)
AFTER_END = " or last_over_time("
STATES = {ALERTS.name, ALERTS_SINCE.name}

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
    """Selects the series with these labels; a value that begins with `~` is a pattern, with `!` excluded.

    part: bucket, sum or count of a histogram. Raises ValueError for a label that the metric does not have.
    """
    known = (*labels_of(metric), *(["le"] if part == "bucket" else []))
    unknown = set(labels) - set(known)
    if unknown:
        raise ValueError(f"{name_of(metric)} has no label {', '.join(sorted(unknown))}")
    matchers = []
    for label, value in labels.items():
        operator = {"~": "=~", "!": "!="}.get(value[:1], "=")
        matchers.append(f'{label}{operator}"{value.lstrip("~!")}"')
    full = name_of(metric) + (f"_{part}" if part else "")
    return full + (f"{{{','.join(matchers)}}}" if matchers else "")


def rate(metric: Metric, by: Sequence[str] = (), part: str = "", window: str = WINDOW, **labels: str) -> str:
    """A counter's rate per second, summed over all processes."""
    return f"sum{_by(by)} (rate({selector(metric, part, **labels)}[{window}]))"


def per_instance(metric: Metric, part: str = "", **labels: str) -> str:
    """A counter's rate per second, for each process that serves it."""
    return f"sum by (instance) (rate({selector(metric, part, **labels)}[{WINDOW}]))"


def increase(metric: Metric, by: Sequence[str] = (), part: str = "", window: str = "$__range", **labels: str) -> str:
    """The growth of a counter in the window, summed over all processes."""
    return f"sum{_by(by)} (increase({selector(metric, part, **labels)}[{window}]))"


def highest(gauge: Metric, by: Sequence[str] = (), **labels: str) -> str:
    """A gauge that every timers process serves with the same value, so that a sum would be wrong."""
    return f"max{_by(by)} ({selector(gauge, **labels)})"


def recently_highest(gauge: Metric, by: Sequence[str] = (), **labels: str) -> str:
    """The largest value of the last two minutes, as long as the gauge is served.

    While an account pauses and goes on, what waits for it is under way every few seconds: the gauge is 0 then.
    """
    largest = f"max{_by(by)} (max_over_time({selector(gauge, **labels)}[{RECENT}]))"
    return f"({largest} and {highest(gauge, by, **labels)})"


def lowest(gauge: Metric, by: Sequence[str] = (), **labels: str) -> str:
    """The smallest value of a gauge over all processes."""
    return f"min{_by(by)} ({selector(gauge, **labels)})"


def total(gauge: Metric, by: Sequence[str] = (), **labels: str) -> str:
    """A gauge of which each process has its own share, summed over all."""
    return f"sum{_by(by)} ({selector(gauge, **labels)})"


def missing(window: str, **labels: str) -> str:
    """Jobs that Prometheus scraped within the window and finds no process of any more."""
    up = selector(UP, **labels)
    return f"count by (job) (count_over_time({up}[{window}])) unless count by (job) ({up})"


def restarts(window: str = "$__range", by: Sequence[str] = ()) -> str:
    """How often a process has started anew in the window: of several, the one that did so most."""
    return f"max{_by(by)} (changes({selector(metrics.PROCESS_STARTED)}[{window}]))"


def quantile(q: float, histogram: Metric, by: Sequence[str] = (), window: str = WINDOW, **labels: str) -> str:
    """The q-quantile of a histogram (0.95: p95), in seconds."""
    return f"histogram_quantile({q}, {rate(histogram, ('le', *by), 'bucket', window, **labels)})"


def ratio(part: str, whole: str) -> str:
    """part / whole; no value while nothing happens: silence is not health."""
    return f"{part} / ({whole} > 0)"


def chosen(expr: str) -> str:
    """The expression of a board, with matchers for the installation and the processes that the reader chose.

    Recorded series and alerts know no process.
    """

    def add_matchers(match: re.Match[str]) -> str:
        labels = INSTALLATION if ":" in match[1] or match[1] in STATES else SCOPE
        inner = [match[2][1:-1]] if match[2] else []
        scope = [f'{label}=~"${label}"' for label in labels]
        return f"{match[1]}{{{','.join([*inner, *scope])}}}"

    return SERIES.sub(add_matchers, expr)


def per_installation(expr: str) -> str:
    """The expression of a rule, with each aggregation by installation: one Prometheus may hold several."""
    extra = ", ".join(INSTALLATION)
    expr = AGGREGATION.sub(lambda at: f"{at[1]} by ({', '.join(filter(None, (extra, at[2])))}) (", expr)
    return expr.replace("on ()", f"on ({extra})")


def without_idle(expr: str) -> str:
    """A rate or a quantile by labels, without the series that did not move in the selected time range.

    `@ end()` lets Prometheus compute that once, and not for each point.
    """
    if match := IDLE_RATE.fullmatch(expr):
        by, moved = match[1], match[2]
    elif match := IDLE_QUANTILE.fullmatch(expr):
        by, moved = f" by ({match[1]})", f"{match[2]}_count{match[3] or ''}"
    else:
        return expr
    return f"{expr} and sum{by} (increase({moved}[$__range] @ end())) > 0"


def until_now(expr: str) -> str:
    """The expression with "not a number" where a series has ended, so that a legend does not show its last value as the
    present one: that of a worker which has stopped, say."""
    return f"{expr}{AFTER_END}({expr})[$__range:$__interval] @ end()) * NaN"


def without_end(expr: str) -> str:
    """What `until_now` was given."""
    return expr.partition(AFTER_END)[0]


def per_minute(metric: Metric, by: Sequence[str] = (), part: str = "", **labels: str) -> str:
    """A counter's rate per minute, for mails: there are few of them."""
    return f"60 * {rate(metric, by, part, **labels)}"


def _by(labels: Sequence[str]) -> str:
    return f" by ({', '.join(labels)})" if labels else ""
