"""Draws single panels: lines, large numbers, heatmaps, in the places that Grafana gives them.

`pictures.py` puts them on a board. It imitates Grafana's dark theme and classic palette.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from matplotlib.patches import Rectangle

from dashboards.preview.queries import Prometheus
from dashboards.preview.units import format_value

COLUMNS = 24
PANEL, FRAME, INK, FAINT = "#181b1f", "#2c3235", "#ccccdc", "#8e8e99"
PALETTE = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#5b9fd6", "#ba43a9", "#8f81d4", "#508642", "#cca300")
THRESHOLD_COLORS = {"green": "#73bf69", "yellow": "#f2cc0c", "red": "#f2495c", "text": INK}
MAX_LEGEND_ENTRIES = 6


class Place:
    """The place of a panel, as shares of the picture; y counts from below."""

    def __init__(self, figure: Any, grid: dict[str, int], rows: int) -> None:
        self.figure = figure
        gap_x, gap_y = 0.05 / COLUMNS, 0.1 / rows
        self.x, self.width = grid["x"] / COLUMNS + 2 * gap_x, grid["w"] / COLUMNS - 4 * gap_x
        self.height = grid["h"] / rows - gap_y
        # The board's title takes one row.
        self.y = 1 - (grid["y"] + 1 + grid["h"]) / rows + gap_y / 2
        self.middle = self.y + self.height / 2
        self.row, self.column = 1 / rows, 1 / COLUMNS

    def frame(self, title: str) -> None:
        box = Rectangle((self.x, self.y), self.width, self.height, facecolor=PANEL, edgecolor=FRAME, linewidth=0.8)
        box.set_transform(self.figure.transFigure)
        box.set_zorder(-1)
        self.figure.add_artist(box)
        top = self.y + self.height - 0.45 * self.row
        self.figure.text(self.x + 0.15 * self.column, top, title, color=INK, size=9, va="center")

    def axes(self, legend_rows: int) -> Any:
        below = (0.95 + 0.62 * legend_rows) * self.row
        axes = self.figure.add_axes(
            (
                self.x + 1.1 * self.column,
                self.y + below,
                self.width - 1.3 * self.column,
                self.height - below - 0.95 * self.row,
            )
        )
        axes.set_facecolor(PANEL)
        axes.tick_params(colors=FAINT, labelsize=7, length=0)
        axes.grid(color=FRAME, linewidth=0.5)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes

    def legend(self, entries: Sequence[tuple[str, str, str]]) -> None:
        """entries: (name, colour, value), drawn two in a row."""
        for number, (name, color, value) in enumerate(entries):
            x = self.x + (0.3 + (number % 2) * self.width / self.column / 2) * self.column
            y = self.y + (0.35 + 0.62 * ((len(entries) + 1) // 2 - 1 - number // 2)) * self.row
            self.figure.text(x, y, "▬", color=color, size=7, va="center")
            self.figure.text(x + 0.28 * self.column, y, f"{name}  ", color=INK, size=7, va="center")
            right = x + self.width / 2 - 0.5 * self.column
            self.figure.text(right, y, value, color=FAINT, size=7, va="center", ha="right")


def _draw_lines(panel: dict[str, Any], prometheus: Prometheus, place: Place) -> bool:
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    custom = panel["fieldConfig"]["defaults"]["custom"]
    result = [series for target in panel["targets"] for series in prometheus.range(target)]
    by_height = sorted(result, key=lambda series: -max((value for _, value in series.points), default=0.0))
    place.frame(panel["title"])
    in_legend = by_height[:MAX_LEGEND_ENTRIES]
    axes = place.axes((len(in_legend) + 1) // 2)
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    base: dict[float, float] = {}
    for series, color in zip(by_height, PALETTE * (len(by_height) // len(PALETTE) + 1), strict=False):
        times = [at for at, _ in series.points]
        values = [value for _, value in series.points]
        below = [base.get(at, 0.0) if stacked else 0.0 for at in times]
        above = [low + value for low, value in zip(below, values, strict=True)]
        base |= dict(zip(times, above, strict=True))
        axes.plot(times, above, color=color, linewidth=1.1)
        axes.fill_between(times, below, above, color=color, alpha=custom.get("fillOpacity", 8) / 100, linewidth=0)
    top = max(axes.get_ylim()[1], 1e-9)
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if custom.get("thresholdsStyle") and step["value"] is not None and step["value"] <= top:
            axes.axhline(step["value"], color=THRESHOLD_COLORS[step["color"]], linewidth=0.9, linestyle="--")
    axes.set_ylim(0, top)
    axes.yaxis.set_major_formatter(lambda value, _: format_value(value, unit))
    _label_times(axes, prometheus)
    if not result:
        axes.text(0.5, 0.5, "No data", color=FAINT, size=10, ha="center", va="center", transform=axes.transAxes)
    place.legend(
        [
            (series.name, color, format_value(series.points[-1][1], unit) if series.points else "")
            for series, color in zip(in_legend, PALETTE, strict=False)
        ]
    )
    return bool(result)


def _draw_numbers(panel: dict[str, Any], prometheus: Prometheus, place: Place) -> bool:
    defaults = panel["fieldConfig"]["defaults"]
    result = [series for target in panel["targets"] for series in prometheus.now(target) if series.points]
    place.frame(panel["title"])
    for number, series in enumerate(result[:8]):
        value = series.points[-1][1]
        color = next(
            THRESHOLD_COLORS[step["color"]]
            for step in reversed(defaults["thresholds"]["steps"])
            if step["value"] is None or value >= step["value"]
        )
        x = place.x + place.width * (number + 0.5) / len(result[:8])
        text = format_value(round(value) if defaults.get("decimals") == 0 else value, defaults.get("unit", "short"))
        size = 24 if len(result) == 1 else 15
        place.figure.text(x, place.middle - 0.006, text, color=color, size=size, ha="center", va="center")
        if series.name:
            place.figure.text(x, place.y + 0.3 * place.row, series.name, color=INK, size=7, ha="center")
    if not result:
        place.figure.text(
            place.x + place.width / 2,
            place.middle,
            defaults.get("noValue", "No data"),
            color=FAINT,
            size=12,
            ha="center",
            va="center",
        )
    return bool(result)


def _draw_heatmap(panel: dict[str, Any], prometheus: Prometheus, place: Place) -> bool:
    buckets = prometheus.range(panel["targets"][0])
    result = sorted(buckets, key=lambda bucket: float(bucket.name.replace("+Inf", "inf")))
    place.frame(panel["title"])
    axes = place.axes(0)
    if not result:
        return False
    # Prometheus' buckets are cumulative; a row shows what lies between its bound and the one before.
    times = sorted({at for series in result for at, _ in series.points})
    below = dict.fromkeys(times, 0.0)
    grid = []
    for series in result:
        cumulative = dict(series.points)
        grid.append([max(0.0, cumulative.get(at, 0.0) - below[at]) for at in times])
        below = {at: cumulative.get(at, below[at]) for at in times}
    axes.imshow(
        grid, aspect="auto", origin="lower", cmap="inferno", extent=(times[0], times[-1], -0.5, len(result) - 0.5)
    )
    axes.set_yticks(range(len(result)), [f"{series.name.removesuffix('.0')} s" for series in result])
    _label_times(axes, prometheus)
    axes.grid(False)
    return True


def _label_times(axes: Any, prometheus: Prometheus) -> None:
    step = max(1, round((prometheus.end - prometheus.start) / 360)) * 60
    first = -(-prometheus.start // step) * step
    ticks = [first + step * number for number in range(int((prometheus.end - first) // step) + 1)]
    axes.set_xticks(ticks, [datetime.fromtimestamp(at, UTC).strftime("%H:%M") for at in ticks])
    axes.set_xlim(prometheus.start, prometheus.end)


DRAW: Mapping[str, Callable[[dict[str, Any], Prometheus, Place], bool]] = {
    "timeseries": _draw_lines,
    "stat": _draw_numbers,
    "heatmap": _draw_heatmap,
}
"""Type of a panel → what draws it, and returns whether there was anything to draw."""
