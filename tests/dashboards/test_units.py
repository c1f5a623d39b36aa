"""Checks the panels' units with Grafana's own registry: npm's @grafana/data, of the release that Compose starts.

The newest patch of its minor release: npm does not hold every patch (12.4.4 and 12.4.6, but not 12.4.5).

Marked `tools`: 180 MB, fetched once.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from dashboards.preview.tools import ROOT
from tests.dashboards import expressions
from tests.dashboards.test_boards import SUFFIXES, UNITS
from tests.deploy import stack
from tests.harness.npm import installed

pytestmark = [pytest.mark.tools, pytest.mark.timeout(300)]
JSDOM = "24.1.3"


def release() -> str:
    """The patches of the minor release that docker-compose.yml pins: `~12.4.0`."""
    match = re.search(r":v?(\d+\.\d+)\.\d+", stack.compose()["services"]["grafana"]["image"])
    assert match
    return f"~{match[1]}.0"


@pytest.fixture(scope="module")
def registry() -> set[str]:
    """The ids of all units that this Grafana knows."""
    for package in (f"@grafana/data@{release()}", f"jsdom@{JSDOM}"):
        modules = installed(package)
    script = Path(__file__).with_name("units.mjs")
    done = subprocess.run(
        ["node", str(script), str(modules.parent)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_grafana_knows_every_unit_of_the_boards(registry: set[str]) -> None:
    units = {
        panel["fieldConfig"]["defaults"]["unit"]
        for board in expressions.boards().values()
        for panel in expressions.panels(board)
    }
    assert units - SUFFIXES <= UNITS <= registry


def test_a_unit_that_grafana_does_not_know_is_noticed(registry: set[str]) -> None:
    assert len(registry) > 200
    assert not {"sec", "milliseconds", "ratio"} & registry
