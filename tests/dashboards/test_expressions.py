"""The expressions of all boards, rules and alerts: they ask only for series that exist, and show every metric.

`test_live.py` runs them against a real Prometheus.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest

from dashboards import promql
from freshgate.telemetry import metrics
from tests.dashboards import expressions
from tests.dashboards.expressions import Expression

PARTS = ("_bucket", "_sum", "_count")


@pytest.mark.parametrize("expression", expressions.all_expressions(), ids=lambda expression: expression.where)
def test_every_expression_asks_for_series_that_exist(expression: Expression) -> None:
    assert expressions.unknown_names(expression.text) == []


def test_a_renamed_series_or_label_is_noticed() -> None:
    assert expressions.unknown_names("rate(freshgate_made_up_total[5m])") == ["freshgate_made_up_total"]
    assert expressions.unknown_names('rate(freshgate_sends_total{colour="red"}[5m])') == ["colour"]
    assert expressions.unknown_names("sum by (colour) (rate(freshgate_sends_total[5m]))") == ["colour"]
    assert expressions.unknown_names("rate(freshgate_gate_seconds_bucket[5m])") == []
    with pytest.raises(ValueError, match="."):
        expressions.unknown_names("sum by (")


@pytest.mark.parametrize("expression", expressions.all_expressions(), ids=lambda expression: expression.where)
def test_counters_are_read_as_rates(expression: Expression) -> None:
    counters = {name for name in expressions.known_series() if name.endswith(("_total", *PARTS))}
    assert expressions.bare_counters(expression.text, counters) == []


def test_a_bare_counter_is_noticed() -> None:
    counters = {"freshgate_sends_total"}
    assert expressions.bare_counters("sum(freshgate_sends_total)", counters) == ["freshgate_sends_total"]
    assert expressions.bare_counters("sum(rate(freshgate_sends_total[5m])) / 2", counters) == []


def test_a_label_that_a_metric_does_not_have_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="colour"):
        promql.selector(metrics.SENDS, colour="red")


def is_bound(le: str, histogram: Any) -> bool:
    return any(str(bound) == le for bound in histogram._kwargs["buckets"])


def test_the_objective_is_a_bound_of_its_histograms() -> None:
    for histogram in (metrics.RECEIVED_TO_ACCEPTED, metrics.OCCURRED_TO_ACCEPTED):
        assert is_bound(promql.OBJECTIVE_LE, histogram)
    assert not is_bound("5", metrics.RECEIVED_TO_ACCEPTED)
    assert not is_bound("5.0", metrics.GATE)


def not_shown(texts: Iterable[str]) -> list[str]:
    """Metrics that no expression reads."""
    read = {name for text in texts for name, _ in expressions.selectors(text)}
    bare = {re.sub("_(bucket|sum|count)$", "", name) for name in read}
    return sorted({promql.name_of(metric) for metric in expressions.exported_metrics()} - bare)


def test_every_metric_is_shown_or_alerted_on() -> None:
    texts = [expression.text for expression in expressions.all_expressions()]
    assert not_shown(texts) == []
    assert not_shown(text for text in texts if "freshgate_holds" not in text) == ["freshgate_holds"]
