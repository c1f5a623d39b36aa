"""Alerts on Redis, which holds all state."""

from __future__ import annotations

from dashboards.alerts.base import Alert
from dashboards.promql import highest, name_of, selector
from freshgate.telemetry import metrics


def redis_alerts() -> list[Alert]:
    memory = f"{highest(metrics.REDIS_MEMORY)} / ({highest(metrics.REDIS_MAX_MEMORY)} > 0)"
    evicted = f"max(increase({name_of(metrics.REDIS_EVICTED)}[10m])) > 0"
    return [
        Alert(
            "RedisDown",
            "page",
            f"min({selector(metrics.REDIS_UP)}) == 0",
            "Redis does not answer: webhooks get 503, and no mail is sent.",
            pending="1m",
            panel="Redis is safe for state (each must be 1)",
        ),
        Alert(
            "RedisEvicting",
            "page",
            f"{evicted} or min({selector(metrics.REDIS_NOEVICTION)}) == 0",
            "Redis evicts keys, or is allowed to: what shoppers did is being forgotten.",
            panel="Redis: evicted keys and delayed disk writes",
        ),
        Alert(
            "RedisNotPersisting",
            "page",
            f"min({selector(metrics.REDIS_AOF)}) == 0 or min({selector(metrics.REDIS_AOF_OK)}) == 0",
            "Redis does not write its append-only file: a restart would forget what was sent.",
            pending="1m",
            panel="Redis is safe for state (each must be 1)",
        ),
        Alert(
            "StoreRestored",
            "page",
            f"{highest(metrics.STORE_RESTORED)} > 0",
            "The store was restored from a copy: all mail is held until an operator says what may have left.",
            panel="For the operator",
        ),
        Alert(
            "BackupOverdue",
            "ticket",
            f"{highest(metrics.BACKUP_OVERDUE)} > 3600",
            "The next copy of the store has been due for {{ $value | humanizeDuration }}.",
            panel="Redis: age of the newest copy",
        ),
        Alert(
            "RedisFull",
            "page",
            f"{memory} > 0.8",
            "Redis is {{ $value | humanizePercentage }} full; from 85 % on webhooks get 503.",
            pending="5m",
            panel="Redis: memory",
        ),
    ]
