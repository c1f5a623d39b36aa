"""Latency panels rise on when mails are minutes late: what their histograms count ends at ten minutes or later."""

from __future__ import annotations

import pytest
from prometheus_client import Histogram

from dashboards.promql import name_of
from freshgate.telemetry import metrics

MUST_REACH_S = 600.0
# Lateness, the wait for a worker, and where the time goes from event to mail.
END_TO_END = (
    metrics.RECEIVED_TO_ACCEPTED,
    metrics.OCCURRED_TO_ACCEPTED,
    metrics.QUEUE_WAIT,
    metrics.TIMER_LATENESS,
    metrics.SOURCE_DELAY,
)


def largest(histogram: Histogram) -> float:
    """The largest bound but infinity: no quantile is shown above it."""
    return max(bound for bound in histogram._upper_bounds if bound != float("inf"))


@pytest.mark.parametrize("histogram", END_TO_END, ids=name_of)
def test_a_delay_of_minutes_is_not_shown_as_seconds(histogram: Histogram) -> None:
    assert largest(histogram) >= MUST_REACH_S
