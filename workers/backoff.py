"""When to try again: exponential, with jitter, and never before the ESP said.

`courier.py` asks; the timers carry it out.
"""

from __future__ import annotations

from random import uniform

FIRST_S = 2.0
MAX_S = 600.0


def next_try(now: int, attempts: int, retry_after_s: float | None) -> int:
    """Milliseconds UTC. Doubles from 2 s up to 10 min, by half more or less, so that a burst does not return as one."""
    backoff = min(MAX_S, FIRST_S * 2.0 ** min(attempts, 16)) * uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret
    return now + int(max(backoff, retry_after_s or 0.0, 1.0) * 1000)
