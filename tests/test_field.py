"""docs/FIELD.md: each row names what shows it, and that exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "FIELD.md").read_text(encoding="utf-8")
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith(("| sent ", "|---"))]
PAIRS = {file.name.removesuffix(".json") for file in (ROOT / "tests" / "payloads").glob("*/*.json")}


def test_each_row_names_a_payload_pair_or_a_test_that_exists() -> None:
    assert len(ROWS) > 25
    for row in ROWS:
        shown_by = re.findall(r"`([^`]+)`", row.rstrip("| ").rpartition(" | ")[2])
        assert shown_by, row
        for name in shown_by:
            assert name in PAIRS or (ROOT / name.partition("::")[0]).is_file(), name
