"""The pictures of the boards, drawn from the running system: every panel has data."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboards.generate import DASHBOARDS
from dashboards.preview.units import format_value
from tests.dashboards.live import Prometheus
from tests.dashboards.tools import module

pytestmark = [pytest.mark.tools, pytest.mark.timeout(240)]


def test_every_panel_is_drawn_with_the_figures_of_prometheus(prometheus: Prometheus, tmp_path: Path) -> None:
    pictures = module("dashboards.preview.pictures")
    asked = pictures.Prometheus(f"http://127.0.0.1:{prometheus.port}", 5)
    empty = set()
    for board in pictures.load_boards():
        file = tmp_path / f"{board['uid']}.png"
        empty |= set(pictures.draw_board(board, asked, file))
        width, height = pictures.Image.open(file).size
        assert width > 1500
        assert height > 1000
    assert empty == set()


def test_a_panel_without_data_is_reported(tmp_path: Path) -> None:
    pictures = module("dashboards.preview.pictures")
    board = next(iter(pictures.load_boards()))

    class Silent(pictures.Prometheus):  # type: ignore[name-defined,misc]  # the module is loaded by name
        def _ask(self, *_: object, **__: object) -> list[object]:
            return []

    titles = {panel["title"] for panel in board["panels"] if panel["type"] != "row"}
    assert set(pictures.draw_board(board, Silent("", 5), tmp_path / "x.png")) == titles


def test_every_board_has_its_picture_in_the_readme() -> None:
    readme = (DASHBOARDS / "README.md").read_text(encoding="utf-8")
    for file in (DASHBOARDS / "grafana").glob("*.json"):
        assert f"(pictures/{file.stem}.png)" in readme
        assert (DASHBOARDS / "pictures" / f"{file.stem}.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0042, "s", "4.2 ms"),
        (0.0, "s", "0 s"),
        (90.0, "s", "1.5 min"),
        (0.993, "percentunit", "99.3%"),
        (1234.0, "short", "1.23 K"),
        (3.5e6, "bytes", "3.5 MB"),
        (2.5, "reqps", "2.5 req/s"),
    ],
)
def test_a_value_is_written_with_its_unit(value: float, unit: str, text: str) -> None:
    assert format_value(value, unit) == text
