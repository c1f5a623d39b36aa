"""The objective: the ESP accepts 99 % of the mails within 5 s. And the recorded series that measure it.

`boards/` draws the series, `alerts/mails.py` fires on them.
"""

from __future__ import annotations

from typing import Any

from dashboards.promql import OBJECTIVE_LE, Foreign, increase, per_installation, recently_highest
from freshgate.telemetry import metrics

# Share of the mails that passed the gate and that the ESP accepts within 5 s of being received and due.
TARGET = 0.99
BUDGET = 1 - TARGET
DAYS = 28
# The same from the event's occurrence: most of that is the CDP's, so it opens tickets only.
PATH_TARGET = 0.75
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
# Window → share of late mails. Withheld sends do not count: no mail was due. Dead and unknown mails count as late,
# and so do sends that have been due for more than 5 s and have not ended, while they wait.
LATE = {window: Foreign(f"freshgate:mails_late:ratio_{window}") for window in WINDOWS}
# The same measured from the event's occurrence, so with the CDP's own delay.
PATH_LATE = {window: Foreign(f"freshgate:path_late:ratio_{window}") for window in ("1h", "6h")}
MAILS = {window: Foreign(f"freshgate:mails:increase_{window}") for window in ("1h", "6h", "1d")}
RECORDED = (*LATE.values(), *PATH_LATE.values(), *MAILS.values())

_LOST = {"outcome": "~dead|unknown"}


def waiting_late() -> str:
    """How many sends are late, due for more than 5 s and not ended: no worker may be there to report them."""
    return recently_highest(metrics.SENDS_LATE)


def all_mails(window: str, **labels: str) -> str:
    """How many mails ended in the window, lost ones included."""
    accepted = increase(metrics.RECEIVED_TO_ACCEPTED, (), "count", window, **labels)
    return f"({accepted} + {increase(metrics.SENDS, (), '', window, **_LOST, **labels)})"


def on_time(window: str, **labels: str) -> str:
    """The share within the objective, 0 to 1, of the mails that ended or wait; no value if there was none.

    Each mail counts once: it waits now, or has ended. Without the timers process nobody knows what waits: no value.
    """
    return f"{_within(window, **labels)} / ({_ended_or_waiting(window, **labels)} > 0)"


def path_on_time(window: str, **labels: str) -> str:
    """The same, measured from the event's occurrence."""
    return f"{_within_path(window, **labels)} / ({_ended_or_waiting(window, **labels)} > 0)"


def recorded() -> dict[str, str]:
    """Recorded series → its expression."""
    late = {series.name: f"1 - {_share_on_time(window)}" for window, series in LATE.items()}
    path = {series.name: f"1 - {_within_path(window)} / ({_mails(window)} > 0)" for window, series in PATH_LATE.items()}
    return {**late, **path, **{series.name: _mails(window) for window, series in MAILS.items()}}


def recording_rules() -> dict[str, Any]:
    """A Prometheus rules file that records the series."""
    rules = [{"record": name, "expr": per_installation(expr)} for name, expr in recorded().items()]
    return {"groups": [{"name": "freshgate-recorded", "interval": "30s", "rules": rules}]}


def _share_on_time(window: str) -> str:
    """As on_time, and it goes on without the timers process: an alert must not depend on both."""
    return f"{_within(window)} / ({_mails(window)} > 0)"


def _mails(window: str) -> str:
    """As all_mails, with those that wait if anybody counts them."""
    return f"({_ended_or_waiting(window)} or {all_mails(window)})"


def _within(window: str, **labels: str) -> str:
    """Mails within the objective. Workers that stopped long ago have no series any more: none then."""
    within = increase(metrics.RECEIVED_TO_ACCEPTED, (), "bucket", window, le=OBJECTIVE_LE, **labels)
    return f"({within} or 0 * {waiting_late()})"


def _within_path(window: str, **labels: str) -> str:
    within = increase(metrics.OCCURRED_TO_ACCEPTED, (), "bucket", window, le=OBJECTIVE_LE, **labels)
    return f"({within} or 0 * {waiting_late()})"


def _ended_or_waiting(window: str, **labels: str) -> str:
    return f"({all_mails(window, **labels)} or 0 * {waiting_late()}) + {waiting_late()}"
