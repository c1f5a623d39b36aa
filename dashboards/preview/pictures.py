"""`python -m dashboards.preview.pictures`: what the boards show of a running system, for who has no Grafana at hand.

It reads the committed boards, asks their queries of a Prometheus, and draws the panels where Grafana would. The looks
are its own; titles, places, units, thresholds and figures are the boards'.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from dashboards.preview.local import DASHBOARDS

EPILOG = """example, beside `make observe`:
  python -m dashboards.preview.pictures --minutes 15

Needs matplotlib: `make test-tools` installs it."""
FOLDER = DASHBOARDS / "pictures"
# Of Grafana: 24 columns, a row of so many pixels, its dark theme and its classic palette.
COLUMNS, COLUMN_IN, ROW_IN, DPI = 24, 0.72, 0.36, 100
PAPER, PANEL, FRAME, INK, FAINT = "#111217", "#181b1f", "#2c3235", "#ccccdc", "#8e8e99"
PALETTE = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#5b9fd6", "#ba43a9", "#8f81d4", "#508642", "#cca300")
NAMED = {"green": "#73bf69", "yellow": "#f2cc0c", "red": "#f2495c", "text": INK}
MAX_LEGEND_ENTRIES = 6


class Series(NamedTuple):
    """One line: its name, and (Unix time, value) pairs."""

    name: str
    points: list[tuple[float, float]]


class Prometheus:
    """The answers of one, for the last `minutes`."""

    def __init__(self, url: str, minutes: float) -> None:
        self._url = url.rstrip("/")
        self.end = time.time()
        self.start = self.end - minutes * 60
        self._filled = {"$__rate_interval": "1m", "$__range": f"{max(1, round(minutes))}m"}

    def range(self, target: dict[str, Any]) -> list[Series]:
        step = max(1.0, (self.end - self.start) / 240)
        found = self._ask("query_range", target, start=self.start, end=self.end, step=step)
        return [Series(_named(target, one["metric"]), _numbers(one["values"])) for one in found]

    def now(self, target: dict[str, Any]) -> list[Series]:
        found = self._ask("query", target, time=self.end)
        return [Series(_named(target, one["metric"]), _numbers([one["value"]])) for one in found]

    def _ask(self, what: str, target: dict[str, Any], **when: float) -> list[Any]:
        expr = target["expr"]
        for name, value in self._filled.items():
            expr = expr.replace(name, value)
        # Everything is chosen.
        for name in ("source", "trigger", "esp", "queue"):
            expr = expr.replace(f"${name}", ".*")
        body = urllib.parse.urlencode({"query": expr, **when}).encode()
        with urllib.request.urlopen(f"{self._url}/api/v1/{what}", body, timeout=30) as answer:
            result: list[Any] = json.load(answer)["data"]["result"]
        return result


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.preview.pictures",
        description="draw the boards as PNG files, from what a Prometheus knows",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL", help="(http://127.0.0.1:9090)")
    parser.add_argument("--minutes", type=float, default=15.0, metavar="N", help="how far back the boards look (15)")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="FOLDER", help="(dashboards/pictures)")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        for board in boards():
            file = options.out / f"{board['uid']}.png"
            draw(board, Prometheus(options.prometheus, options.minutes), file)
            print(file)
    except OSError as error:
        print(f"{options.prometheus}: {error}", file=sys.stderr)
        return 1
    return 0


def boards() -> Iterator[dict[str, Any]]:
    """As they are committed."""
    for file in sorted((DASHBOARDS / "grafana").glob("*.json")):
        yield json.loads(file.read_text(encoding="utf-8"))


def draw(board: dict[str, Any], prometheus: Prometheus, file: Path) -> list[str]:
    """Writes the picture; returns the titles of the panels for which there was nothing to draw."""
    panels = [inner for panel in board["panels"] for inner in (panel, *(panel.get("panels") or ()))]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) + 1
    figure = Figure(figsize=(COLUMNS * COLUMN_IN, rows * ROW_IN), dpi=DPI, facecolor=PAPER)
    when = datetime.fromtimestamp(prometheus.end, UTC).strftime("%H:%M")
    figure.text(0.006, 1 - 0.45 / rows, board["title"], color=INK, size=13, weight="bold", va="center")
    figure.text(0.994, 1 - 0.45 / rows, f"until {when} UTC", color=FAINT, size=9, va="center", ha="right")
    empty = []
    for panel in panels:
        place = _Place(figure, panel["gridPos"], rows)
        if panel["type"] == "row":
            figure.text(place.left, place.middle, f"▾ {panel['title']}", color=INK, size=11, va="center")
        elif not _KINDS[panel["type"]](panel, prometheus, place):
            empty.append(panel["title"])
    drawn = io.BytesIO()
    figure.savefig(drawn, facecolor=PAPER)
    # Few colours: a third of the size.
    Image.open(drawn).quantize(128).save(file, optimize=True)
    return empty


class _Place:
    """Where a panel stands in the picture, in shares of it; y counts from below."""

    def __init__(self, figure: Any, grid: dict[str, int], rows: int) -> None:
        self.figure = figure
        gap_x, gap_y = 0.05 / COLUMNS, 0.1 / rows
        self.left, self.width = grid["x"] / COLUMNS + 2 * gap_x, grid["w"] / COLUMNS - 4 * gap_x
        self.height = grid["h"] / rows - gap_y
        # One row is the board's title.
        self.bottom = 1 - (grid["y"] + 1 + grid["h"]) / rows + gap_y / 2
        self.middle = self.bottom + self.height / 2
        self.row, self.column = 1 / rows, 1 / COLUMNS

    def frame(self, title: str) -> None:
        box = Rectangle(
            (self.left, self.bottom), self.width, self.height, facecolor=PANEL, edgecolor=FRAME, linewidth=0.8
        )
        box.set_transform(self.figure.transFigure)
        box.set_zorder(-1)
        self.figure.add_artist(box)
        top = self.bottom + self.height - 0.45 * self.row
        self.figure.text(self.left + 0.15 * self.column, top, title, color=INK, size=9, va="center")

    def axes(self, legend_rows: int) -> Any:
        below = (0.95 + 0.62 * legend_rows) * self.row
        axes = self.figure.add_axes(
            (
                self.left + 1.1 * self.column,
                self.bottom + below,
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
        """(name, colour, figure) each, two in a row."""
        for number, (name, color, value) in enumerate(entries):
            x = self.left + (0.3 + (number % 2) * self.width / self.column / 2) * self.column
            y = self.bottom + (0.35 + 0.62 * ((len(entries) + 1) // 2 - 1 - number // 2)) * self.row
            self.figure.text(x, y, "▬", color=color, size=7, va="center")
            self.figure.text(x + 0.28 * self.column, y, f"{name}  ", color=INK, size=7, va="center")
            right = x + self.width / 2 - 0.5 * self.column
            self.figure.text(right, y, value, color=FAINT, size=7, va="center", ha="right")


def _lines(panel: dict[str, Any], prometheus: Prometheus, place: _Place) -> bool:
    unit = panel["fieldConfig"]["defaults"].get("unit", "short")
    custom = panel["fieldConfig"]["defaults"]["custom"]
    found = [series for target in panel["targets"] for series in prometheus.range(target)]
    shown = sorted(found, key=lambda one: -max((value for _, value in one.points), default=0.0))
    place.frame(panel["title"])
    told = shown[:MAX_LEGEND_ENTRIES]
    axes = place.axes((len(told) + 1) // 2)
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    base: dict[float, float] = {}
    for series, color in zip(shown, PALETTE * (len(shown) // len(PALETTE) + 1), strict=False):
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
            axes.axhline(step["value"], color=NAMED[step["color"]], linewidth=0.9, linestyle="--")
    axes.set_ylim(0, top)
    axes.yaxis.set_major_formatter(lambda value, _: spoken(value, unit))
    _tell_time(axes, prometheus)
    if not found:
        axes.text(0.5, 0.5, "No data", color=FAINT, size=10, ha="center", va="center", transform=axes.transAxes)
    place.legend(
        [
            (series.name, color, spoken(series.points[-1][1], unit) if series.points else "")
            for series, color in zip(told, PALETTE, strict=False)
        ]
    )
    return bool(found)


def _figures(panel: dict[str, Any], prometheus: Prometheus, place: _Place) -> bool:
    defaults = panel["fieldConfig"]["defaults"]
    found = [series for target in panel["targets"] for series in prometheus.now(target) if series.points]
    place.frame(panel["title"])
    for number, series in enumerate(found[:8]):
        value = series.points[-1][1]
        color = next(
            NAMED[step["color"]]
            for step in reversed(defaults["thresholds"]["steps"])
            if step["value"] is None or value >= step["value"]
        )
        x = place.left + place.width * (number + 0.5) / len(found[:8])
        text = spoken(round(value) if defaults.get("decimals") == 0 else value, defaults.get("unit", "short"))
        size = 24 if len(found) == 1 else 15
        place.figure.text(x, place.middle - 0.006, text, color=color, size=size, ha="center", va="center")
        if series.name:
            place.figure.text(x, place.bottom + 0.3 * place.row, series.name, color=INK, size=7, ha="center")
    if not found:
        place.figure.text(
            place.left + place.width / 2,
            place.middle,
            defaults.get("noValue", "No data"),
            color=FAINT,
            size=12,
            ha="center",
            va="center",
        )
    return bool(found)


def _heat(panel: dict[str, Any], prometheus: Prometheus, place: _Place) -> bool:
    found = sorted(prometheus.range(panel["targets"][0]), key=lambda one: float(one.name.replace("+Inf", "inf")))
    place.frame(panel["title"])
    axes = place.axes(0)
    if not found:
        return False
    # Prometheus' buckets hold all that is below them; a row shows what is between it and the one before.
    times = sorted({at for series in found for at, _ in series.points})
    below = dict.fromkeys(times, 0.0)
    grid = []
    for series in found:
        upto = dict(series.points)
        grid.append([max(0.0, upto.get(at, 0.0) - below[at]) for at in times])
        below = {at: upto.get(at, below[at]) for at in times}
    axes.imshow(
        grid, aspect="auto", origin="lower", cmap="inferno", extent=(times[0], times[-1], -0.5, len(found) - 0.5)
    )
    axes.set_yticks(range(len(found)), [f"{series.name.removesuffix('.0')} s" for series in found])
    _tell_time(axes, prometheus)
    axes.grid(False)
    return True


def _tell_time(axes: Any, prometheus: Prometheus) -> None:
    step = max(1, round((prometheus.end - prometheus.start) / 360)) * 60
    first = -(-prometheus.start // step) * step
    ticks = [first + step * number for number in range(int((prometheus.end - first) // step) + 1)]
    axes.set_xticks(ticks, [datetime.fromtimestamp(at, UTC).strftime("%H:%M") for at in ticks])
    axes.set_xlim(prometheus.start, prometheus.end)


_KINDS = {"timeseries": _lines, "stat": _figures, "heatmap": _heat}
_SECONDS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs"))
_LARGE = ((1e9, "G"), (1e6, "M"), (1e3, "K"))


def spoken(value: float, unit: str) -> str:
    """A figure with its unit, about as Grafana writes it: 0.0042 s → "4.2 ms"."""
    if math.isnan(value):
        return "NaN"
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    if unit == "s":
        return next((f"{value / size:.3g} {name}" for size, name in _SECONDS if abs(value) >= size), "0 s")
    text = next((f"{value / size:.3g} {name}" for size, name in _LARGE if abs(value) >= size), f"{value:.3g}")
    return text + {"ops": " ops/s", "reqps": " req/s", "bytes": "B"}.get(unit, "")


def _named(target: dict[str, Any], labels: dict[str, str]) -> str:
    name: str = target.get("legendFormat", "")
    for label, value in labels.items():
        name = name.replace(f"{{{{{label}}}}}", value)
    return name


def _numbers(values: Sequence[tuple[float, str]]) -> list[tuple[float, float]]:
    return [(float(at), float(value)) for at, value in values if value not in ("NaN", "+Inf", "-Inf")]


if __name__ == "__main__":
    sys.exit(main())
