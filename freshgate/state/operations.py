"""Counts what operators do, so that the boards can mark it: `workers/redis_monitor.py` reads the counts."""

from __future__ import annotations

from typing import Any

from freshgate.state import keys

# Commands that change what the workers do.
OPERATIONS = ("hold", "release", "resend", "replay", "close", "quarantine_replay")


def count_operation(client: Any, operation: str) -> None:
    """Counts one call of a command that changed something. operation: one of OPERATIONS.

    Raises RedisError, ValueError.
    """
    if operation not in OPERATIONS:
        raise ValueError(operation)
    client.hincrby(keys.OPERATIONS, operation, 1)
