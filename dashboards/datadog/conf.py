"""How DataDog's Agent reads our metrics, and what it calls them: the configuration of its OpenMetrics check.

`translate.py` asks here for the names; the check itself is run against our processes in tests/dashboards.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from dashboards.promql import OBJECTIVE_LE, REQUEST_TIME, REQUESTS, name_of
from freshgate.settings import Settings
from freshgate.telemetry import metrics
from freshgate.telemetry.metrics import PolledMetric

NAMESPACE = "freshgate"
PREFIX = "freshgate_"
# Of these the share within the objective is asked, for which a bucket is exact and a distribution is not.
BOUNDED = (metrics.RECEIVED_TO_ACCEPTED, metrics.OCCURRED_TO_ACCEPTED)
BOUND = ".by_bound"
OURS: list[Any] = [one for one in vars(metrics).values() if isinstance(one, Counter | Gauge | Histogram | PolledMetric)]
EXPORTED = [*OURS, REQUESTS, REQUEST_TIME]
# Tags that DataDog keeps for itself, and what stands in their place.
RENAMED = {"version": "freshgate_version"}
# Each process serves the metrics that it uses; a name that it does not serve costs nothing.
PROCESSES = {"receiver": "metrics_port", "worker": "worker_metrics_port", "timers": "timers_metrics_port"}


def raw_name(series: str) -> str:
    """As the check knows it: a counter goes by its family, without `_total`."""
    return series.removesuffix("_total")


def new_name(series: str) -> str:
    """Below the namespace; the check adds `.count`, `.sum` and `.bucket`."""
    return raw_name(series).removeprefix(PREFIX)


def configuration() -> dict[str, Any]:
    """conf.d/openmetrics.d/conf.yaml (docs.datadoghq.com/integrations/openmetrics; Agent 7.32 or newer)."""
    instances = [_process(process, port) for process, port in PROCESSES.items()]
    return {"init_config": {"service": "freshgate"}, "instances": [*instances, _bounded()]}


def _process(process: str, port: str) -> dict[str, Any]:
    names = sorted(name_of(metric) for metric in EXPORTED)
    return {
        "openmetrics_endpoint": _endpoint(port),
        "namespace": NAMESPACE,
        # Percentiles, which are to be switched on for each of them; and their counts as counters.
        "histogram_buckets_as_distributions": True,
        "collect_counters_with_distributions": True,
        "metrics": [{raw_name(name): new_name(name)} for name in names],
        "rename_labels": dict(RENAMED),
        "tags": [f"process:{process}"],
    }


def _bounded() -> dict[str, Any]:
    """A second look at the worker, for the buckets of the objective as counters; the other buckets are left out."""
    return {
        "openmetrics_endpoint": _endpoint("worker_metrics_port"),
        "namespace": NAMESPACE,
        "metrics": [{name_of(one): new_name(name_of(one)) + BOUND} for one in BOUNDED],
        # `le`, as the check calls it.
        "exclude_metrics_by_labels": {"upper_bound": [f"^(?!{OBJECTIVE_LE.replace('.', '[.]')}$)"]},
        # Two of the same name would be one for DataDog: the first says whether the worker answers.
        "enable_health_service_check": False,
        "tags": ["process:worker"],
    }


def _endpoint(setting: str) -> str:
    return f"http://127.0.0.1:{getattr(Settings(), setting)}/metrics"
