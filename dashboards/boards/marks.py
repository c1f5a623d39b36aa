"""Marks over all panels of a board: what happened at that moment, such as a new release or a hold."""

from __future__ import annotations

from typing import Any, NamedTuple

from dashboards.promql import chosen, selector
from freshgate.telemetry import metrics

# Grafana asks for one point each minute, or fewer over a long range; each expression is true at one of them.
STEP = "$__interval"
# A process that was away for less is no new one.
REMEMBERED = "1d"


class Mark(NamedTuple):
    """expr: has a value at the moment. title: `{{label}}` of its series."""

    name: str
    color: str
    title: str
    expr: str


def _new_release() -> str:
    build = selector(metrics.BUILD)
    by = "count by (process, version)"
    return f"{by} ({build}) unless {by} (last_over_time({build}[{REMEMBERED}] offset {STEP}))"


def _operation() -> str:
    count = selector(metrics.OPERATIONS)
    # Also what was done while nobody read the counts: it is marked when they are read again.
    return f"max by (operation) ({count}) > max by (operation) (last_over_time({count}[{REMEMBERED}] offset {STEP}))"


def _start() -> str:
    return f"time() - {selector(metrics.PROCESS_STARTED)} < {STEP}_ms / 1000"


MARKS = (
    Mark("Releases", "blue", "{{process}} {{version}}", _new_release()),
    # Counted by the commands themselves: hold, release, resend, replay, close.
    Mark("Operators", "purple", "operator: {{operation}}", _operation()),
    # A reload, changed settings, a crash.
    Mark("Starts", "#8e8e99", "{{process}} {{instance}} started", _start()),
)


def as_annotation(mark: Mark) -> dict[str, Any]:
    """The annotation as Grafana loads it."""
    return {
        "name": mark.name,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "enable": True,
        "iconColor": mark.color,
        "expr": chosen(mark.expr),
        "titleFormat": mark.title,
        "step": "60s",
    }
