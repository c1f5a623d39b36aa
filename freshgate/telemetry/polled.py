"""Metrics whose values are read from Redis, served by the one process that polls it.

`metrics.py` declares them; `workers/redis_monitor.py` sets them every few seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import Metric
from prometheus_client.registry import Collector


class PolledMetric:
    """A gauge or counter that has no series until it was read, and none while Redis does not answer.

    An ordinary gauge would stand at 0 in every other process, and at its last value during an outage.
    """

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...] = (), kind: str = "gauge") -> None:
        self._family = Metric(name.removesuffix("_total") if kind == "counter" else name, documentation, kind)
        self._name = name
        self._labelnames = labels
        self._values: Mapping[tuple[str, ...], float] = {}

    def set(self, values: float | Mapping[tuple[str, ...], float]) -> None:
        """Replaces all series: one number, or one for each combination of labels. An empty mapping removes them."""
        self._values = values if isinstance(values, Mapping) else {(): values}

    def describe(self) -> list[Metric]:
        return [self._family]

    def collect(self) -> Metric:
        family = Metric(self._family.name, self._family.documentation, self._family.type)
        for labels, value in self._values.items():
            family.add_sample(self._name, dict(zip(self._labelnames, labels, strict=True)), value)
        return family


class PolledMetrics(Collector):
    """All polled metrics, as the polling process registers them."""

    def __init__(self, polled: Sequence[PolledMetric]) -> None:
        self._polled = polled

    def collect(self) -> Iterator[Metric]:
        for metric in self._polled:
            yield metric.collect()
