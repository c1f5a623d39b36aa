"""One alert and how Prometheus writes it; and the two shapes of expressions that several of them have.

`alerts.py` lists the alerts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from dashboards.objective import BUDGET, LATE, MAILS
from dashboards.promql import pick

RUNBOOKS = "dashboards/runbooks"
# Below so many mails in the window one late mail would be a fire.
MIN_MAILS = 100


@dataclass(frozen=True)
class Alert:
    """summary and the board's uid go along with it. lasts: for how long it must be so. labels: further ones."""

    name: str
    severity: Literal["page", "ticket", "none"]
    expr: str
    summary: str
    board: str = "freshgate-queues"
    lasts: str = "0s"
    labels: dict[str, str] = field(default_factory=dict)

    def rule(self) -> dict[str, Any]:
        """In the form of a Prometheus rules file."""
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.lasts,
            "labels": {"severity": self.severity, "service": "freshgate", **self.labels},
            "annotations": {
                "summary": self.summary,
                "runbook": f"{RUNBOOKS}/{self.name}.md",
                "dashboard": f"/d/{self.board}",
            },
        }


def burn(name: str, severity: Literal["page", "ticket"], times: float, long: str, short: str, guard: str) -> Alert:
    """Both windows: the long one is proof, the short one says that it still goes on (SRE workbook, chapter 5)."""
    limit = round(times * BUDGET, 4)
    expr = f"{pick(LATE[long])} > {limit} and {pick(LATE[short])} > {limit} and {pick(MAILS[guard])} > {MIN_MAILS}"
    return Alert(
        name,
        severity,
        expr,
        f"Mails are late: the budget burns {times:g} times too fast over {long}.",
        "freshgate-event-to-email",
        labels={"slo": "mails", "window": long},
    )


def silent(series: str, label: str, fewest: int) -> str:
    """Less than a tenth of the same hours a week ago, when there was something."""
    now, then = (f"sum by ({label}) (increase({series}[2h]{offset}))" for offset in ("", " offset 1w"))
    return f"{now} < 0.1 * ({then} > {fewest})"
