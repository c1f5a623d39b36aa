"""The wall clock, for composition roots, routes and commands; everyone else is handed the time."""

from __future__ import annotations

import time

# How far a device's clock may be ahead of ours; a time further ahead is a mistake.
AHEAD_MS = 300_000


def now_ms() -> int:
    """Milliseconds UTC since 1970."""
    return time.time_ns() // 1_000_000
