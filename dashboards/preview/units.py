"""Figures with their units, about as Grafana writes them."""

from __future__ import annotations

import math

_SECONDS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))
_LARGE = ((1e9, "G"), (1e6, "M"), (1e3, "K"))


def format_value(value: float, unit: str) -> str:
    """A value with its unit: 0.0042 s → "4.2 ms"."""
    if math.isnan(value):
        return "NaN"
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    if unit == "s":
        return next((f"{value / size:.3g} {name}" for size, name in _SECONDS if abs(value) >= size), "0 s")
    text = next((f"{value / size:.3g} {name}" for size, name in _LARGE if abs(value) >= size), f"{value:.3g}")
    return text + {"ops": " ops/s", "reqps": " req/s", "bytes": "B"}.get(unit, "")
