"""Redis' clock as a process knows it: read with trips that are made anyway, and carried on between them.

All decisions, leases, dues and times of receipt are by this one clock, so a host whose own clock is off works like
every other; it says so by a metric, and the receiver's `/readyz` by a fault.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from freshgate.clock import now_ms

REPORT_INTERVAL_S = 1.0


class RedisClock:
    """Milliseconds UTC by Redis' clock. Until the first trip, the host's own. Thread-safe: each reading is whole.

    fixed        replaces the clock, for tests: then Redis' functions get its time as an argument
    report_skew  is told about once a second how far the host's clock is ahead (seconds)
    """

    def __init__(
        self, fixed: Callable[[], int] | None = None, report_skew: Callable[[float], object] | None = None
    ) -> None:
        self._fixed = fixed
        self._report_skew = report_skew
        # What Redis said, and when it arrived (monotonic seconds).
        self._reading = (now_ms(), time.monotonic())
        self._report_due = 0.0

    @property
    def override(self) -> int | str:
        """The time that functions are to work with; empty for Redis' own."""
        return self._fixed() if self._fixed else ""

    def set(self, redis_ms: int) -> None:
        """Takes over what Redis said in a reply that arrived just now."""
        read_at = time.monotonic()
        self._reading = (redis_ms, read_at)
        if self._report_skew and read_at >= self._report_due:
            self._report_due = read_at + REPORT_INTERVAL_S
            self._report_skew((now_ms() - redis_ms) / 1000)

    def now(self) -> int:
        if self._fixed:
            return self._fixed()
        redis_ms, read_at = self._reading
        return redis_ms + int((time.monotonic() - read_at) * 1000)
