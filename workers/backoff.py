"""When to retry a send: exponential backoff with jitter, and never before the ESP allows it.

`courier.py` asks for the time; the timers bring the send back.
"""

from __future__ import annotations

from random import uniform

FIRST_S = 2.0
MAX_S = 600.0


def next_try(now: int, attempts: int, retry_after_s: float | None) -> int:
    """Milliseconds UTC. Doubles from 2 s up to 10 min; half more or half less keeps a burst from returning at once."""
    backoff_s = min(MAX_S, FIRST_S * 2.0 ** min(attempts, 16)) * uniform(0.5, 1.5)  # noqa: S311 - jitter, not a secret
    return now + int(max(backoff_s, retry_after_s or 0.0, 1.0) * 1000)
