"""Redis' clock as a worker knows it: read with each trip, and carried on between trips.

All decisions, leases and dues are by this one clock, so a host whose own clock is off decides like every other.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class RedisClock:
    """Milliseconds UTC by Redis' clock. Until the first trip, the host's own.

    fixed  replaces the clock, for tests: then Redis' functions get its time as an argument
    """

    def __init__(self, fixed: Callable[[], int] | None = None) -> None:
        self._fixed = fixed
        self._redis_ms = time.time_ns() // 1_000_000
        self._read_at = time.monotonic()

    @property
    def override(self) -> int | str:
        """The time that functions are to work with; empty for Redis' own."""
        return self._fixed() if self._fixed else ""

    def set(self, redis_ms: int) -> None:
        """Takes over what Redis said in a reply that arrived just now."""
        self._redis_ms, self._read_at = redis_ms, time.monotonic()

    def now(self) -> int:
        if self._fixed:
            return self._fixed()
        return self._redis_ms + int((time.monotonic() - self._read_at) * 1000)
