"""Alerts on what watches over Freshgate: Prometheus, Alertmanager, Grafana, the stores of traces and logs."""

from __future__ import annotations

from dashboards.alerts.base import Alert
from dashboards.promql import NOTIFICATIONS_FAILED, RULES_FAILED, UP, selector

MONITORS = "~prometheus|alertmanager|grafana|otel-collector|tempo|loki|alloy"


def monitoring_alerts() -> list[Alert]:
    return [
        Alert(
            "MonitoringDown",
            "ticket",
            f"{selector(UP, job=MONITORS)} == 0",
            "Prometheus cannot read the metrics of {{ $labels.job }} at {{ $labels.instance }}.",
            pending="5m",
        ),
        Alert(
            "NotificationsFail",
            "ticket",
            f"sum by (integration) (increase({selector(NOTIFICATIONS_FAILED)}[10m])) > 0",
            "Alertmanager cannot deliver alerts by {{ $labels.integration }}: nobody may be woken.",
            pending="5m",
        ),
        Alert(
            "RulesFail",
            "ticket",
            f"sum by (rule_group) (increase({selector(RULES_FAILED)}[10m])) > 0",
            "Prometheus cannot evaluate rules of {{ $labels.rule_group }}: its alerts are blind.",
            pending="5m",
        ),
    ]
