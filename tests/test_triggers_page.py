"""Each rule of docs/TRIGGERS.md holds as it is printed, in at most ten lines.

The first block is the catalog, the others are tests, which run in a process of their own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.harness.system import ROOT

PAGE = (ROOT / "docs" / "TRIGGERS.md").read_text(encoding="utf-8")
CATALOG, *RULES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
MAX_LINES = 10
# The words that the page's tests are written in: Ada, what she does, and what became of it.
HEAD = """
import pytest
from freshgate import Product
from freshgate.testing import World

ADA = "ada@example.com"
MUG = Product("mug-1", name="Mug", price="9.90")


class Shop(World):
    def tell(self, name, *, email=ADA, **fields):
        self.record(self.event(name, user="ada", email=email, **fields))

    def outcomes(self):
        return super().outcomes("ada")

    def why(self):
        return super().why("ada")

    def colors(self):
        return [mail.template_data["color"] for mail in self.mails if mail.trigger == "quiz_result"]


@pytest.fixture
def shop():
    return Shop("myshop.catalog")


"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FRESHGATE_")}
    environ = {**inherited, "PYTHONPATH": f"{folder}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=100)


def test_every_rule_keeps_its_promise_in_ten_lines(tmp_path: Path) -> None:
    package = tmp_path / "myshop" / "catalog"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").write_text(CATALOG)
    checked = run(tmp_path, "adapter", "check", "--catalog", "myshop.catalog")
    assert (checked.returncode, checked.stdout.strip().endswith("no fault")) == (0, True), checked.stdout
    assert [rule for rule in RULES if len(rule.strip().splitlines()) > MAX_LINES] == []
    assert all(rule.startswith("def test_") for rule in RULES)
    (tmp_path / "test_page.py").write_text(HEAD + "\n\n".join(RULES))
    tested = run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "test_page.py")
    assert tested.returncode == 0, tested.stdout
    assert f"{len(RULES)} passed" in tested.stdout


def test_each_outcome_of_the_gate_has_its_rule() -> None:
    headings = " ".join(re.findall(r"^## (.*)$", PAGE, re.MULTILINE))
    for outcome in ("duplicate", "suppressed", "superseded", "cancelled", "stale", "capped", "no_address"):
        assert f"`{outcome}`" in headings
