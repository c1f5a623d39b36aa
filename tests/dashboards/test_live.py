"""Runs every expression on a real Prometheus that scrapes the real system under traffic and provoked faults.

No expression is an error. None is empty, except for those listed here with their reason.
"""

from __future__ import annotations

import pytest

from tests.dashboards import expressions
from tests.dashboards.live import Prometheus

pytestmark = [pytest.mark.tools, pytest.mark.timeout(240)]
# Part of an expression → why it has no result here.
RIGHTLY_EMPTY = {
    "offset 1w": "the system has not run for a week",
    "offset 1m": "shows only what has changed since",
    "time() - freshgate_process_start_time_seconds": "shows only what has started since",
    "freshgate_redis_max_memory_bytes": "the embedded Valkey has no limit",
    "> 0 or last_over_time(": "a counter with labels has no series before it counts",
    "freshgate_feedback_total": "the ESP reports nothing back",
    "freshgate_accepted_to_delivered_seconds": "the ESP reports nothing back",
    "freshgate_unauthentic_feedback_total": "the ESP reports nothing back",
    "freshgate_outcome": "outcomes are sent to no CDP",
    "freshgate_asks_total": "the catalog asks no source of truth",
    'job=~"prometheus|': "Prometheus scrapes none of what watches",
    "alertmanager_notifications_failed_total": "there is no Alertmanager",
    "prometheus_rule_evaluation_failures_total": "Prometheus does not scrape itself",
    "freshgate_backup": "no copy is scheduled",
    "freshgate_needed_fields_total": "every field was fresh",
    "freshgate_failed_over_total": "no account has a failover",
    "freshgate_rate_limited_total": "no limit was reached",
    "freshgate_refusals_total": "our own code failed on nothing",
    "freshgate_clamped_events_total": "no clock was ahead",
    "absent": "a timers process is scraped",
    'status=~"5.."': "no request failed",
}
# Histogram → why nothing is observed here, so that its quantiles are not numbers.
RIGHTLY_UNKNOWN = {"freshgate_people_cache_age_seconds": "nobody asks the People API"}


def empty(prometheus: Prometheus, parts: list[tuple[str, str]]) -> list[str]:
    """The expressions without a result that are not listed as rightly empty."""
    without_result = []
    for where, expr in parts:
        if not prometheus.query(expr) and not any(part in expr for part in RIGHTLY_EMPTY):
            without_result.append(f"{where}: {expr}")
    return without_result


def test_no_panel_is_empty(prometheus: Prometheus) -> None:
    parts = [(expression.where, expression.filled) for expression in expressions.of_panels()]
    assert empty(prometheus, parts) == []


def without_a_number(prometheus: Prometheus, parts: list[tuple[str, str]]) -> list[str]:
    """The expressions whose values are all NaN, which is as bad as no value."""
    only_nan = []
    for where, expr in parts:
        values = {sample["value"][1] for sample in prometheus.query(expr)}
        if values and values <= {"NaN"} and not any(part in expr for part in RIGHTLY_UNKNOWN):
            only_nan.append(f"{where}: {expr}")
    return only_nan


def test_no_panel_is_without_a_number(prometheus: Prometheus) -> None:
    parts = [(expression.where, expression.filled) for expression in expressions.of_panels()]
    assert without_a_number(prometheus, parts) == []
    assert without_a_number(prometheus, [("here", "vector(0) / vector(0)")]) == ["here: vector(0) / vector(0)"]


def test_the_dots_of_the_end_to_end_panels_open_traces(prometheus: Prometheus) -> None:
    panels = [panel for board in expressions.boards().values() for panel in expressions.panels(board)]
    dotted = [target["expr"] for panel in panels for target in panel["targets"] if target.get("exemplar")]
    assert len(dotted) > 3
    for expr in dotted:
        traces = {labels["trace_id"] for labels in prometheus.exemplars(expressions.fill(expr))}
        assert traces, expr
        assert {len(trace) for trace in traces} == {32}


def test_no_rule_is_an_error_and_no_part_of_an_alert_is_empty(prometheus: Prometheus) -> None:
    for expression in expressions.of_rules():
        prometheus.query(expression.filled)
    parts = [
        (expression.where, part)
        for expression in expressions.of_rules()
        for part in expressions.operands(expression.text)
    ]
    assert empty(prometheus, parts) == []


def test_an_expression_that_is_wrong_or_empty_is_noticed(prometheus: Prometheus) -> None:
    assert empty(prometheus, [("here", "freshgate_made_up_total")]) == ["here: freshgate_made_up_total"]
    with pytest.raises(ValueError, match="parse error"):
        prometheus.query("sum by (")


def test_every_process_is_scraped_and_no_series_is_for_nobody(prometheus: Prometheus) -> None:
    names = {
        series["metric"]["__name__"] for series in prometheus.query('count by (__name__) ({__name__=~"freshgate_.*"})')
    }
    assert {"freshgate_redis_up", "freshgate_sends_total", "freshgate_events_total"} <= names
    assert not [name for name in names if name.endswith("_created")]


def test_the_provoked_faults_are_seen(prometheus: Prometheus) -> None:
    for expr in (
        'sum(freshgate_unauthentic_requests_total{reason="BatchWithoutToken"}) > 0',
        'sum(freshgate_requests_refused_total{status="400"}) > 0',
        'sum(freshgate_esp_errors_total{error="blocked"}) > 0',
        'sum(freshgate_esp_errors_total{error="permanent"}) > 0',
        'ALERTS{alertname="Watchdog",alertstate="firing"}',
    ):
        assert prometheus.query(expr), expr


def test_the_clock_of_the_last_event_is_right(prometheus: Prometheus) -> None:
    (sample,) = prometheus.query('time() - freshgate_last_event_timestamp_seconds{source="segment"}')
    assert 0 <= float(sample["value"][1]) < 240
