"""The list of faults fits the code, and the operators change what they say; `make mutants` runs them."""

from __future__ import annotations

import re

import pytest

from tests.mutants.__main__ import REASONS, derived, planted
from tests.mutants.faults import FOLDER
from tests.mutants.operators import mutants
from tests.mutants.touched import ROOT

EXPLAINED = re.compile(r"^- `((?:workers|freshgate)/[^`]+)`:", re.MULTILINE)


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ("x = a < b", ["a < b → (a <= b)", "a < b → (a > b)"]),
        ("x = a is None", ["a is None → (a is not None)"]),
        ("x = a and b", ["a and b → (a or b)", "a and b → (b)", "a and b → (a)"]),
        ("x = not a", ["not a → (a)"]),
        ("x = max(y)", ["max → (min)"]),
        ("x = a + 7", ["a + 7 → (a - 7)", "7 → (8)"]),
        ("x = {'a': b}", ["{'a': b} → without 'a'"]),
        ("x = [a for a in b if a]", ["a → True"]),
        ("f()", ["f() → pass"]),
        ("x.y = z", ["x.y = z → pass"]),
        ("log.info(a < b)", []),
        ("metrics.SENDS.labels(a).inc(2)", []),
        ("pending.span.end(a < b)", []),
        ("x: a < b", []),
        ("x = f'{a + 1}'", []),
    ],
)
def test_operators(source: str, changes: list[str]) -> None:
    assert [mutant.name.removeprefix("a.py module: ") for mutant in mutants("a.py", source)] == changes


def test_a_mutant_knows_its_function_and_changes_nothing_else() -> None:
    source = "class A:\n    x: int = 1\n\n    def f(self):\n        if a:\n            return b\n"
    changed = list(mutants("a.py", source))
    assert {mutant.function for mutant in changed} == {"A.f"}
    assert [mutant.line for mutant in changed] == [5, 5, 6]
    assert changed[0].source == source.replace("if a", "if False")


def test_each_planted_fault_has_its_place_and_a_name_of_its_own() -> None:
    names = [mutant.name for mutant in planted()]
    assert len(names) == len(set(names)) > 250


def test_each_lua_file_has_its_faults() -> None:
    files = {str(path.relative_to(ROOT)) for path in (ROOT / FOLDER).glob("*.lua")}
    assert {mutant.file for mutant in planted()} == files


def test_each_reason_is_that_of_a_fault_that_can_be_planted() -> None:
    names = {mutant.name for mutant in [*planted(), *derived()]}
    explained = EXPLAINED.findall(REASONS.read_text(encoding="utf-8"))
    assert [name for name in explained if name not in names] == []
