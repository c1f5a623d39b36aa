"""No panel says green, and no table says that all is well, while what it shows is stale: each exporter is stopped.

A hung process keeps its port open, so Prometheus' scrapes of it time out.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dashboards import promql
from dashboards.colors import GREEN
from dashboards.panels import NO_POLLS
from freshgate.telemetry import metrics
from tests.dashboards import expressions
from tests.dashboards.live import Prometheus
from tests.harness.system import System

pytestmark = [pytest.mark.tools, pytest.mark.timeout(240)]
POLLED = {promql.name_of(metric) for metric in metrics.POLLED_METRICS}
# Process → the present values that it alone serves.
OF_PROCESS = {"timers": POLLED, "receiver": {promql.name_of(metrics.LAST_EVENT)}}


@contextmanager
def stopped(system: System, prometheus: Prometheus, process: str) -> Iterator[None]:
    """The process hangs, until the block ends."""
    pid = int((system.var / "pids" / process).read_text(encoding="ascii"))
    os.kill(pid, signal.SIGSTOP)
    try:
        system.wait_for(lambda: value(prometheus, f'sum(up{{job="freshgate-{process}"}})') == 0, 60)
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        system.wait_for(lambda: value(prometheus, f'sum(up{{job="freshgate-{process}"}})') == 1, 60)


def value(prometheus: Prometheus, expr: str) -> float | None:
    result = prometheus.query(expr)
    return float(result[0]["value"][1]) if result else None


def is_known(prometheus: Prometheus, expr: str) -> bool:
    """Whether a panel shows a figure: a series that has ended is not a number."""
    return any(at["value"][1] != "NaN" for at in prometheus.query(expressions.fill(expr)))


def present_values(names: set[str]) -> list[Any]:
    """Stat panels that read only these series, and each as it is now."""
    shown = []
    for board in expressions.boards().values():
        for panel in expressions.panels(board):
            read = {name for target in panel["targets"] for name, _ in expressions.selectors(target["expr"])}
            if panel["type"] == "stat" and read and read <= names:
                shown.append(panel)
    return shown


@pytest.mark.parametrize("process", OF_PROCESS)
def test_what_a_stopped_process_serves_is_shown_as_unknown(
    system: System, prometheus: Prometheus, process: str
) -> None:
    panels = present_values(OF_PROCESS[process])
    assert panels
    with stopped(system, prometheus, process):
        for panel in panels:
            for target in panel["targets"]:
                assert prometheus.query(expressions.fill(target["expr"])) == [], panel["title"]
            (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
            assert mapping["options"]["result"]["color"] != GREEN
            assert panel["fieldConfig"]["defaults"]["noValue"] == NO_POLLS or process != "timers"


def test_while_the_timers_are_stopped_nobody_claims_that_mails_are_on_time(
    system: System, prometheus: Prometheus
) -> None:
    """What waits is not known then: the share of mails on time, the budget and the burn rate are unknown, too."""
    titles = ("Mails on time", "Error budget left", "On time with CDP", "Error budget burn rate")
    board = expressions.boards()["freshgate-event-to-email"]
    targets = [at["expr"] for panel in expressions.panels(board) if panel["title"] in titles for at in panel["targets"]]
    assert len(targets) == 7
    system.wait_for(lambda: all(is_known(prometheus, expr) for expr in targets), 60)
    with stopped(system, prometheus, "timers"):
        assert [expr for expr in targets if is_known(prometheus, expr)] == []


@pytest.mark.parametrize("process", ["receiver", "worker", "timers"])
def test_a_process_that_hangs_is_not_up(system: System, prometheus: Prometheus, process: str) -> None:
    board = expressions.boards()["freshgate-queues"]
    (panel,) = (panel for panel in expressions.panels(board) if panel["title"] == "Processes up")
    red = panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]
    assert (red["color"], panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1]["value"]) == ("red", 1)
    with stopped(system, prometheus, process):
        up = {
            at["metric"]["job"]: at["value"][1]
            for at in prometheus.query(expressions.fill(panel["targets"][0]["expr"]))
        }
        assert up[f"freshgate-{process}"] == "0"


def test_a_worker_that_hangs_spends_the_budget(system: System, prometheus: Prometheus) -> None:
    """It reports no late mail, and the timers count what waits for it."""
    with stopped(system, prometheus, "worker"):
        for number in range(3):
            order = {"order_id": f"stale-{number}", "email": f"stale{number}@example.com"}
            event = {"type": "track", "event": "Order Completed", "userId": f"stale-{number}", "properties": order}
            assert system.post(event).status == 200
        system.wait_for(lambda: (value(prometheus, "max(freshgate_sends_late)") or 0) >= 3, 90)
        system.wait_for(lambda: (value(prometheus, "freshgate:mails_late:ratio_5m") or 0) > 0, 60)
    system.wait_for(lambda: value(prometheus, "max(freshgate_sends_late)") == 0, 90)
