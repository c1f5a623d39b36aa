"""The marks over the panels, evaluated: each happening is one mark, and an outage is none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from dashboards.boards.marks import MARKS, STEP
from tests.dashboards.tools import run

pytestmark = pytest.mark.tools
LASTS = 90
WORKER = 'freshgate_build_info{process="worker",version="%s",instance="%s"}'
HELD = 'freshgate_operations{operation="hold",instance="t"}'
# Series in promtool's notation, one value a minute, and the minutes in which the mark stands.
CASES: tuple[tuple[str, Mapping[str, str], list[int]], ...] = (
    # The worker hangs for ten minutes, and goes on; so does one that was recreated at another address.
    ("Releases", {WORKER % ("1", "a"): "1x30 _x10 1x60"}, [0]),
    ("Releases", {WORKER % ("1", "a"): "1x30 stale _x60", WORKER % ("1", "b"): "_x40 1x60"}, [0]),
    ("Releases", {WORKER % ("1", "a"): "1x40 stale _x60", WORKER % ("2", "b"): "_x41 1x60"}, [0, 41]),
    # Both releases side by side for a while, and the old one again.
    ("Releases", {WORKER % ("1", "a"): "1x20 _x20 1x60", WORKER % ("2", "b"): "_x10 1x80"}, [0, 10]),
    ("Operators", {HELD: "0x20 1x10 2x60"}, [21, 32]),
    # The timers, which read it from Redis, are away.
    ("Operators", {HELD: "0x20 1x10 _x10 1x60"}, [21]),
    ("Operators", {HELD: "0x20 1x10 _x10 2x60"}, [21, 42]),
    ("Starts", {'freshgate_process_start_time_seconds{process="worker"}': "0x30 1860x60"}, [0, 31]),
)


def is_as_expected(folder: Path, name: str, series: Mapping[str, str], minutes: list[int]) -> str:
    """What promtool says if the mark stands in other minutes, else an empty text."""
    (expr,) = [mark.expr for mark in MARKS if mark.name == name]
    at_each = f"count({expr.replace(f'{STEP}_ms', '60000').replace(STEP, '1m')}) > bool 0"
    test = {
        "interval": "1m",
        "input_series": [{"series": selector, "values": values} for selector, values in series.items()],
        "promql_expr_test": [
            {
                "expr": at_each,
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": "{}", "value": 1}] if minute in minutes else [],
            }
            for minute in range(LASTS)
        ],
    }
    file = folder / "tests.yml"
    file.write_text(yaml.safe_dump({"tests": [test]}), encoding="utf-8")
    done = run("promtool", "test", "rules", str(file))
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize(("name", "series", "minutes"), CASES)
def test_each_happening_is_one_mark_and_an_outage_none(
    tmp_path: Path, name: str, series: Mapping[str, str], minutes: list[int]
) -> None:
    assert is_as_expected(tmp_path, name, series, minutes) == ""


def test_a_mark_in_another_minute_is_noticed(tmp_path: Path) -> None:
    assert is_as_expected(tmp_path, "Releases", {WORKER % ("1", "a"): "1x90"}, [])
    assert is_as_expected(tmp_path, "Operators", {HELD: "0x20 1x70"}, [22])
