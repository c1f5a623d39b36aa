"""Durations, caps and ramps as people write them: "30m", "1/24h", "50/d x2 to 20000/d".

The settings and the catalog share the spelling. Times are integer milliseconds everywhere else.
"""

from __future__ import annotations

import re

UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DURATION = re.compile(r"(\d+)(ms|s|m|h|d)", re.ASCII)
CAP = re.compile(r"(\d+)/(\S+)", re.ASCII)
RAMP = re.compile(r"(\d+)/d\s+x(\d+(?:\.\d+)?)\s+to\s+(\d+)/d", re.ASCII)


def parse_duration(text: str) -> int | None:
    """ "30m" → 1_800_000; None for what is not a whole number and ms, s, m, h or d."""
    match = DURATION.fullmatch(text.strip())
    return int(match[1]) * UNITS_MS[match[2]] if match else None


def parse_cap(text: str) -> tuple[int, int] | None:
    """ "1/24h" → (1, 86_400_000): at most one in 24 hours; None for what is not such a text. "100/s" is "100/1s"."""
    match = CAP.fullmatch(text.strip())
    window = parse_duration(f"1{match[2]}" if match[2] in UNITS_MS else match[2]) if match else None
    return (int(match[1]), window) if match and window is not None and int(match[1]) > 0 else None


def parse_ramp(text: str) -> tuple[int, float, int] | None:
    """ "50/d x2 to 20000/d" → (50, 2.0, 20000); None for what is not such a text, or does not grow."""
    match = RAMP.fullmatch(text.strip())
    if match is None:
        return None
    ramp = int(match[1]), float(match[2]), int(match[3])
    return ramp if 0 < ramp[0] < ramp[2] and ramp[1] > 1 else None


def format_duration(ms: int) -> str:
    """A duration as it is written: 30m, 24h, 2d."""
    for name, unit in sorted(UNITS_MS.items(), key=lambda entry: -entry[1]):
        if ms >= unit and ms % unit == 0:
            return f"{ms // unit}{name}"
    return f"{ms}ms"
