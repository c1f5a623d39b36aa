"""Each recipe of docs/COOKBOOK.md works as it is printed: `check` finds no fault in its catalog, and its test passes.

The first Python block of a section is the catalog, the last one its test. Both run in processes of their own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.system import ROOT

TEXT = (ROOT / "docs" / "COOKBOOK.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FRESHGATE_")}
    environ = {**inherited, "PYTHONPATH": f"{folder}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=100)


@pytest.mark.parametrize("recipe", SECTIONS)
def test_the_recipe_is_sound_and_keeps_its_promise(recipe: str, tmp_path: Path) -> None:
    catalog, test = BLOCK.findall(SECTIONS[recipe])
    package = tmp_path / "myshop" / "catalog"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").write_text(catalog)
    (tmp_path / "test_recipe.py").write_text(test)
    checked = run(tmp_path, "adapter", "check", "--catalog", "myshop.catalog")
    assert (checked.returncode, checked.stdout.strip().endswith("no fault")) == (0, True), checked.stdout
    tested = run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "test_recipe.py")
    assert tested.returncode == 0, tested.stdout
    assert re.search(r"\d passed", tested.stdout)


def test_every_recipe_that_people_ask_for_is_there() -> None:
    assert list(SECTIONS) == [
        "A cart series",
        "Mails in the shopper's language",
        "Win back",
        "A review request",
        "Back in stock",
        "A lower price",
    ]
