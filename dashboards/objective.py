"""The objective: the ESP accepts 99 % of the mails within 5 s. And the recorded series that measure it.

`boards/` draws the series, `alerts/mails.py` fires on them.
"""

from __future__ import annotations

from typing import Any

from dashboards.promql import OBJECTIVE_LE, Foreign, increase, rate
from freshgate.telemetry import metrics

# Share of the mails that passed the gate and that the ESP accepts within 5 s of being received and due.
TARGET = 0.99
BUDGET = 1 - TARGET
DAYS = 28
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
# Window → share of late mails. Withheld sends do not count: no mail was due. Dead and unknown mails count as late.
LATE = {window: Foreign(f"freshgate:mails_late:ratio_{window}") for window in WINDOWS}
# The same measured from the event's occurrence, so with the CDP's own delay.
PATH_LATE = {window: Foreign(f"freshgate:path_late:ratio_{window}") for window in ("1h", "6h")}
MAILS = {window: Foreign(f"freshgate:mails:increase_{window}") for window in ("1h", "6h", "1d")}
RECORDED = (*LATE.values(), *PATH_LATE.values(), *MAILS.values())

_LOST = {"outcome": "~dead|unknown"}


def all_mails(window: str, **labels: str) -> str:
    """How many mails ended in the window, lost ones included."""
    accepted = increase(metrics.RECEIVED_TO_ACCEPTED, (), "count", window, **labels)
    return f"({accepted} + {increase(metrics.SENDS, (), '', window, **_LOST, **labels)})"


def on_time(window: str, **labels: str) -> str:
    """The share within the objective, 0 to 1; no value if there was no mail."""
    within = increase(metrics.RECEIVED_TO_ACCEPTED, (), "bucket", window, le=OBJECTIVE_LE, **labels)
    return f"{within} / ({all_mails(window, **labels)} > 0)"


def path_on_time(window: str, **labels: str) -> str:
    """The same, measured from the event's occurrence."""
    within = increase(metrics.OCCURRED_TO_ACCEPTED, (), "bucket", window, le=OBJECTIVE_LE, **labels)
    return f"{within} / ({increase(metrics.OCCURRED_TO_ACCEPTED, (), 'count', window, **labels)} > 0)"


def recording_rules() -> dict[str, Any]:
    """A Prometheus rules file that records the series."""
    late = [{"record": series.name, "expr": f"1 - {_rate_on_time(window)}"} for window, series in LATE.items()]
    path = [{"record": series.name, "expr": f"1 - {_rate_path(window)}"} for window, series in PATH_LATE.items()]
    mails = [{"record": series.name, "expr": all_mails(window)} for window, series in MAILS.items()]
    return {"groups": [{"name": "freshgate-recorded", "interval": "30s", "rules": [*late, *path, *mails]}]}


def _rate_on_time(window: str) -> str:
    within = rate(metrics.RECEIVED_TO_ACCEPTED, (), "bucket", window, le=OBJECTIVE_LE)
    accepted = rate(metrics.RECEIVED_TO_ACCEPTED, (), "count", window)
    return f"{within} / ({accepted} + {rate(metrics.SENDS, (), '', window, **_LOST)})"


def _rate_path(window: str) -> str:
    within = rate(metrics.OCCURRED_TO_ACCEPTED, (), "bucket", window, le=OBJECTIVE_LE)
    return f"{within} / {rate(metrics.OCCURRED_TO_ACCEPTED, (), 'count', window)}"
