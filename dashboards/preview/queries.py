"""What a board's queries return from a Prometheus, for `pictures.py`."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import Any, NamedTuple


class Series(NamedTuple):
    """One line: its name, and (Unix time, value) pairs."""

    name: str
    points: list[tuple[float, float]]


class Prometheus:
    """Queries a Prometheus for the last `minutes`."""

    def __init__(self, url: str, minutes: float) -> None:
        self._url = url.rstrip("/")
        self.end = time.time()
        self.start = self.end - minutes * 60
        self._variables = {"$__rate_interval": "1m", "$__range": f"{max(1, round(minutes))}m"}

    def range(self, target: dict[str, Any]) -> list[Series]:
        step = max(1.0, (self.end - self.start) / 240)
        result = self._ask("query_range", target, start=self.start, end=self.end, step=step)
        return [Series(_legend(target, series["metric"]), _points(series["values"])) for series in result]

    def now(self, target: dict[str, Any]) -> list[Series]:
        result = self._ask("query", target, time=self.end)
        return [Series(_legend(target, series["metric"]), _points([series["value"]])) for series in result]

    def _ask(self, endpoint: str, target: dict[str, Any], **times: float) -> list[Any]:
        expr = target["expr"]
        for name, value in self._variables.items():
            expr = expr.replace(name, value)
        # "All" is chosen for each variable.
        for name in ("source", "trigger", "esp", "queue"):
            expr = expr.replace(f"${name}", ".*")
        body = urllib.parse.urlencode({"query": expr, **times}).encode()
        with urllib.request.urlopen(f"{self._url}/api/v1/{endpoint}", body, timeout=30) as response:
            result: list[Any] = json.load(response)["data"]["result"]
        return result


def _legend(target: dict[str, Any], labels: dict[str, str]) -> str:
    name: str = target.get("legendFormat", "")
    for label, value in labels.items():
        name = name.replace(f"{{{{{label}}}}}", value)
    return name


def _points(values: Sequence[tuple[float, str]]) -> list[tuple[float, float]]:
    return [(float(at), float(value)) for at, value in values if value not in ("NaN", "+Inf", "-Inf")]
