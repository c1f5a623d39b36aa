"""One alert and its form in Prometheus, and two expressions that several alerts share.

The files beside this one hold the alerts, one file an area.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from dashboards.boards.base import panel_id
from dashboards.objective import BUDGET, LATE, MAILS
from dashboards.promql import per_installation, selector

# External labels of Prometheus' configuration: where the runbooks and Grafana are. They are settings of the reader's.
RUNBOOKS, GRAFANA = "{{ $externalLabels.runbooks }}", "{{ $externalLabels.grafana }}"
# With fewer mails in the window, a single late mail would fire the alert.
MIN_MAILS = 100

Severity = Literal["page", "ticket", "none"]


@dataclass(frozen=True)
class Alert:
    """An alert. `page` wakes somebody, since mails are late or data is being lost now. `ticket` waits for the morning.

    summary, board (a uid) and the title of its panel become annotations. pending: how long the condition must hold
    before the alert fires (Prometheus' `for`). labels: added to severity and service.
    """

    name: str
    severity: Severity
    expr: str
    summary: str
    board: str = "freshgate-queues"
    pending: str = "0s"
    labels: dict[str, str] = field(default_factory=dict)
    panel: str = ""

    def to_rule(self) -> dict[str, Any]:
        """One rule of a Prometheus rules file."""
        panel = f"?viewPanel=panel-{panel_id(self.panel)}" if self.panel else ""
        return {
            "alert": self.name,
            "expr": per_installation(self.expr),
            "for": self.pending,
            "labels": {"severity": self.severity, "service": "freshgate", **self.labels},
            "annotations": {
                "summary": self.summary,
                "runbook_url": f"{RUNBOOKS}/{self.name}.md",
                "dashboard_url": f"{GRAFANA}/d/{self.board}{panel}",
            },
        }


def burn_rate_alert(name: str, severity: Severity, factor: float, long: str, short: str, volume_window: str) -> Alert:
    """Fires while the error budget burns `factor` times too fast in both windows.

    The long window proves the loss, the short one shows that it goes on (SRE workbook, chapter 5).
    """
    limit = round(factor * BUDGET, 4)
    conditions = (
        f"{selector(LATE[long])} > {limit}",
        f"{selector(LATE[short])} > {limit}",
        f"{selector(MAILS[volume_window])} > {MIN_MAILS}",
    )
    return Alert(
        name,
        severity,
        " and ".join(conditions),
        f"Mails are late: over {long} the error budget burns {factor:g} times too fast.",
        "freshgate-event-to-email",
        # Whatever makes them late pages before, with its cause.
        "3m" if severity == "page" else "0s",
        panel="Error budget burn rate",
        labels={"slo": "mails", "window": long},
    )


def dropped_since_last_week(series: str, label: str, min_count: int, window: str = "2h") -> str:
    """Less than a tenth of the same window (two hours) a week ago, where that had more than min_count."""
    now, week_ago = (f"sum by ({label}) (increase({series}[{window}]{offset}))" for offset in ("", " offset 1w"))
    return f"{now} < 0.1 * ({week_ago} > {min_count})"
