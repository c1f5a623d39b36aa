"""Counts what operators do, so that the boards can mark it: `workers/redis_monitor.py` reads the counts."""

from __future__ import annotations

from typing import Any

from freshgate.state import keys
from freshgate.telemetry import metrics


def count_operation(client: Any, operation: str) -> None:
    """Counts one call of a command that changed something. operation: one of `metrics.OPERATIONS_COUNTED`.

    Raises RedisError, ValueError.
    """
    if operation not in metrics.OPERATIONS_COUNTED:
        raise ValueError(operation)
    client.hincrby(keys.OPERATIONS, operation, 1)
