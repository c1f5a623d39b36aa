"""`python -m dashboards.preview.pictures`: draws the boards as PNG files, for readers without a Grafana.

It sends the queries of the committed boards to a Prometheus, and `drawing.py` draws the panels where Grafana would.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from dashboards.preview.drawing import COLUMNS, DRAW, FAINT, INK, Place
from dashboards.preview.local import DASHBOARDS
from dashboards.preview.queries import Prometheus

EPILOG = """example, beside `make observe`:
  python -m dashboards.preview.pictures --minutes 15

Needs matplotlib: `make test-tools` installs it."""
FOLDER = DASHBOARDS / "pictures"
# The size of one of Grafana's grid cells in the picture.
COLUMN_IN, ROW_IN, DPI = 0.72, 0.36, 100
BACKGROUND = "#111217"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.preview.pictures",
        description="draw the boards as PNG files, with figures from a Prometheus",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL", help="(http://127.0.0.1:9090)")
    parser.add_argument("--minutes", type=float, default=15.0, metavar="N", help="how far back the boards look (15)")
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="FOLDER", help="(dashboards/pictures)")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        for board in load_boards():
            file = options.out / f"{board['uid']}.png"
            draw_board(board, Prometheus(options.prometheus, options.minutes), file)
            print(file)
    except OSError as error:
        print(f"{options.prometheus}: {error}", file=sys.stderr)
        return 1
    return 0


def load_boards() -> Iterator[dict[str, Any]]:
    """The committed boards."""
    for file in sorted((DASHBOARDS / "grafana").glob("*.json")):
        yield json.loads(file.read_text(encoding="utf-8"))


def draw_board(board: dict[str, Any], prometheus: Prometheus, file: Path) -> list[str]:
    """Writes the picture, and returns the titles of panels without data."""
    panels = [inner for panel in board["panels"] for inner in (panel, *(panel.get("panels") or ()))]
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) + 1
    figure = Figure(figsize=(COLUMNS * COLUMN_IN, rows * ROW_IN), dpi=DPI, facecolor=BACKGROUND)
    until = datetime.fromtimestamp(prometheus.end, UTC).strftime("%H:%M")
    figure.text(0.006, 1 - 0.45 / rows, board["title"], color=INK, size=13, weight="bold", va="center")
    figure.text(0.994, 1 - 0.45 / rows, f"until {until} UTC", color=FAINT, size=9, va="center", ha="right")
    empty = []
    for panel in panels:
        place = Place(figure, panel["gridPos"], rows)
        if panel["type"] == "row":
            figure.text(place.x, place.middle, f"▾ {panel['title']}", color=INK, size=11, va="center")
        elif not DRAW[panel["type"]](panel, prometheus, place):
            empty.append(panel["title"])
    png = io.BytesIO()
    figure.savefig(png, facecolor=BACKGROUND)
    # 128 colours make a third of the size.
    Image.open(png).quantize(128).save(file, optimize=True)
    return empty


if __name__ == "__main__":
    sys.exit(main())
