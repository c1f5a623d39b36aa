"""The objective: how many mails must be with the ESP within 5 s, and the recorded series that say how many are not.

boards/ draw the series, `alerts.py` pages by them.
"""

from __future__ import annotations

from typing import Any

from dashboards.promql import OBJECTIVE_LE, Foreign, increase, total
from freshgate.telemetry import metrics

# Of the mails that the gate let through and that a timer or a webhook made due: with the ESP within 5 s.
TARGET = 0.99
BUDGET = 1 - TARGET
DAYS = 28
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
# Window → series. What was withheld is in neither part: nothing was to be sent. What died or is unknown is late.
LATE = {window: Foreign(f"freshgate:mails_late:ratio_{window}") for window in WINDOWS}
# From the occurrence on, so with the CDP's own delay.
PATH_LATE = {window: Foreign(f"freshgate:path_late:ratio_{window}") for window in ("1h", "6h")}
MAILS = {window: Foreign(f"freshgate:mails:increase_{window}") for window in ("1h", "6h", "1d")}
RECORDED = (*LATE.values(), *PATH_LATE.values(), *MAILS.values())

_LOST = {"outcome": "~dead|unknown"}


def all_mails(window: str, **labels: str) -> str:
    """How many mails came to an end in this time, those that were lost included."""
    accepted = increase(metrics.RECEIVED_TO_ACCEPTED, (), "count", window, **labels)
    return f"({accepted} + {increase(metrics.SENDS, (), '', window, **_LOST, **labels)})"


def on_time(window: str, **labels: str) -> str:
    """The share within the objective, 0 to 1; nothing when there was no mail."""
    within = increase(metrics.RECEIVED_TO_ACCEPTED, (), "bucket", window, le=OBJECTIVE_LE, **labels)
    return f"{within} / ({all_mails(window, **labels)} > 0)"


def path_on_time(window: str, **labels: str) -> str:
    """The same from the occurrence on."""
    within = increase(metrics.OCCURRED_TO_ACCEPTED, (), "bucket", window, le=OBJECTIVE_LE, **labels)
    return f"{within} / ({increase(metrics.OCCURRED_TO_ACCEPTED, (), 'count', window, **labels)} > 0)"


def recording_rules() -> dict[str, Any]:
    """In the form of a Prometheus rules file."""
    late = [{"record": series.name, "expr": f"1 - {_rate_on_time(window)}"} for window, series in LATE.items()]
    path = [{"record": series.name, "expr": f"1 - {_rate_path(window)}"} for window, series in PATH_LATE.items()]
    mails = [{"record": series.name, "expr": all_mails(window)} for window, series in MAILS.items()]
    return {"groups": [{"name": "freshgate-recorded", "interval": "30s", "rules": [*late, *path, *mails]}]}


def _rate_on_time(window: str) -> str:
    within = total(metrics.RECEIVED_TO_ACCEPTED, (), "bucket", window, le=OBJECTIVE_LE)
    accepted = total(metrics.RECEIVED_TO_ACCEPTED, (), "count", window)
    return f"{within} / ({accepted} + {total(metrics.SENDS, (), '', window, **_LOST)})"


def _rate_path(window: str) -> str:
    within = total(metrics.OCCURRED_TO_ACCEPTED, (), "bucket", window, le=OBJECTIVE_LE)
    return f"{within} / {total(metrics.OCCURRED_TO_ACCEPTED, (), 'count', window)}"
