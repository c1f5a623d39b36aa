"""The configuration of DataDog's OpenMetrics check: what the Agent reads, and under which names.

`translate.py` takes the names from here; the tests run the check itself against our processes.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from dashboards.promql import OBJECTIVE_LE, REQUEST_TIME, REQUESTS, name_of
from freshgate.settings import Settings
from freshgate.telemetry import metrics
from freshgate.telemetry.polled import PolledMetric

NAMESPACE = "freshgate"
PREFIX = "freshgate_"
# The share within the objective is asked of these: a bucket gives it exactly, a distribution only estimates it.
OBJECTIVE_HISTOGRAMS = (metrics.RECEIVED_TO_ACCEPTED, metrics.OCCURRED_TO_ACCEPTED)
BUCKET_SUFFIX = ".by_bound"
FRESHGATE_METRICS: list[Any] = [
    metric for metric in vars(metrics).values() if isinstance(metric, Counter | Gauge | Histogram | PolledMetric)
]
EXPORTED = [*FRESHGATE_METRICS, REQUESTS, REQUEST_TIME]
# Label → tag, where DataDog keeps the label's name for itself, or the Agent adds a tag of that name below.
RENAMED = {"version": "freshgate_version", "process": "freshgate_process"}
# Process → the setting of its metrics port. Each is asked for all names: a name that it lacks costs nothing.
PROCESSES = {"receiver": "metrics_port", "worker": "worker_metrics_port", "timers": "timers_metrics_port"}


def raw_name(series: str) -> str:
    """The name in the check's configuration: a counter goes by its family, without `_total`."""
    return series.removesuffix("_total")


def datadog_name(series: str) -> str:
    """The name below the namespace, to which the check adds `.count`, `.sum` and `.bucket`."""
    return raw_name(series).removeprefix(PREFIX)


def build_configuration() -> dict[str, Any]:
    """conf.d/openmetrics.d/conf.yaml (docs.datadoghq.com/integrations/openmetrics; Agent 7.32 or newer)."""
    instances = [_process(process, port) for process, port in PROCESSES.items()]
    return {"init_config": {"service": "freshgate"}, "instances": [*instances, _objective_buckets()]}


def _process(process: str, port: str) -> dict[str, Any]:
    names = sorted(name_of(metric) for metric in EXPORTED)
    return {
        "openmetrics_endpoint": _endpoint(port),
        "namespace": NAMESPACE,
        # Histograms become distributions, whose percentiles DataDog's user switches on, and counters of their counts.
        "histogram_buckets_as_distributions": True,
        "collect_counters_with_distributions": True,
        "metrics": [{raw_name(name): datadog_name(name)} for name in names],
        "rename_labels": dict(RENAMED),
        "tags": [f"process:{process}"],
    }


def _objective_buckets() -> dict[str, Any]:
    """A second instance for the worker: the objective's bucket as a counter, all other buckets left out."""
    names = [name_of(metric) for metric in OBJECTIVE_HISTOGRAMS]
    return {
        "openmetrics_endpoint": _endpoint("worker_metrics_port"),
        "namespace": NAMESPACE,
        "metrics": [{name: datadog_name(name) + BUCKET_SUFFIX} for name in names],
        # The check calls the label `le` so.
        "exclude_metrics_by_labels": {"upper_bound": [f"^(?!{OBJECTIVE_LE.replace('.', '[.]')}$)"]},
        # The first instance already reports whether the worker answers; DataDog could not tell the two apart.
        "enable_health_service_check": False,
        "tags": ["process:worker"],
    }


def _endpoint(setting: str) -> str:
    return f"http://127.0.0.1:{getattr(Settings(), setting)}/metrics"
