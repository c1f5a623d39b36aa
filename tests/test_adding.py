"""docs/ADDING.md is true: its code is that of the example, and its tables name what the sources really read.

`tests/test_cookbook.py` runs the recipes; `tests/adapter/commands/test_example.py` runs the example.
"""

from __future__ import annotations

import json
import re
from textwrap import dedent
from typing import get_args

import pytest

from adapter.sources.mparticle.source import MESSAGE_IDS
from adapter.sources.tealium.elements import VISITOR_IDS
from freshgate.declare import FieldType
from tests.harness.system import ROOT

TEXT = (ROOT / "docs" / "ADDING.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "docs" / "example" / "myshop"
CODE = {path: path.read_text(encoding="utf-8") for path in EXAMPLE.rglob("*.py")}


def blocks(language: str) -> list[str]:
    """The code blocks, as they stand in a file."""
    matches = re.findall(rf"^ *```{language}\n(.*?)^ *```", TEXT, re.MULTILINE | re.DOTALL)
    return [dedent(block).strip() for block in matches]


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.partition("\n")[0])
def test_each_python_block_stands_in_the_example(block: str) -> None:
    assert any(block in code for code in CODE.values()), block


@pytest.mark.parametrize("block", blocks("json"), ids=lambda block: block[:40])
def test_each_json_block_is_a_half_of_the_examples_pair(block: str) -> None:
    halves = [json.loads(path.read_text(encoding="utf-8")) for path in EXAMPLE.rglob("*.json")]
    assert json.loads(block) in halves


@pytest.mark.parametrize("field_type", get_args(FieldType))
def test_each_type_of_a_field_has_its_row(field_type: str) -> None:
    assert f"\n| `{field_type}` | " in TEXT


def test_the_table_names_where_ids_and_times_are_read() -> None:
    (mparticle,), (tealium,) = (
        re.findall(rf"^\| {cdp} \| .*$", TEXT, re.MULTILINE) for cdp in ("mParticle", "Tealium")
    )
    source = (ROOT / "adapter" / "sources" / "tealium" / "elements.py").read_text(encoding="utf-8")
    times = re.findall(r'"(tealium_timestamp_\w+)"', source)
    assert len(times) == 3
    named = [*(f"`{name}`" in mparticle for name in MESSAGE_IDS), *(f"`{name}`" in tealium for name in times)]
    named += [f"`{'.'.join(steps)}`" in tealium for steps in VISITOR_IDS]
    assert all(named)
