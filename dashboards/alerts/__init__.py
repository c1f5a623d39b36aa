"""The alerts, one file an area. `ALERTS` lists them by the Prometheus group that evaluates them."""

from __future__ import annotations

from typing import Any

from dashboards.alerts.base import Alert
from dashboards.alerts.esps import esp_alerts
from dashboards.alerts.mails import mail_alerts
from dashboards.alerts.monitoring import monitoring_alerts
from dashboards.alerts.redis import redis_alerts
from dashboards.alerts.sources import source_alerts
from dashboards.alerts.workers import worker_alerts

ALERTS: dict[str, list[Alert]] = {
    "freshgate-objective": mail_alerts(),
    "freshgate-machinery": worker_alerts(),
    "freshgate-redis": redis_alerts(),
    "freshgate-sources": source_alerts(),
    "freshgate-esp": esp_alerts(),
    "freshgate-monitoring": monitoring_alerts(),
}


def alerting_rules() -> dict[str, Any]:
    """A Prometheus rules file with all alerts."""
    return {"groups": [{"name": name, "rules": [alert.to_rule() for alert in group]} for name, group in ALERTS.items()]}
