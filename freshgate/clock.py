"""The wall clock, for composition roots, routes and commands; everyone else is handed the time."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Milliseconds UTC since 1970."""
    return time.time_ns() // 1_000_000
