"""`python -m adapter new`: what it writes passes lint and types, and fails its tests with what is to be filled in.

Tried on a copy of the tree. mypy's cache goes along, so that only what is new is checked.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adapter.commands.develop.spellings import names
from freshgate.errors import FreshgateError
from tests.adapter.commands.conftest import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]
COPIED = ("freshgate", "adapter", "catalog", "workers", "tests", "docs")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the repository, without its settings."""
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.fixture
def run(tree: Path) -> Run:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FRESHGATE_")}

    def call(*words: str, cwd: Path = tree) -> subprocess.CompletedProcess[str]:
        environ = {**inherited, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", *words]
        return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=240)

    return call


def written(done: subprocess.CompletedProcess[str]) -> set[str]:
    assert done.returncode == 0, done.stderr
    return {line.split()[1] for line in done.stdout.splitlines() if line.startswith(("written", "changed"))}


@pytest.mark.timeout(400)
def test_what_is_written_passes_lint_and_types(tree: Path, run: Run) -> None:
    files = written(run("adapter", "new", "event", "Subscription Renewed", "--from", "segment,mparticle"))
    files |= written(run("adapter", "new", "trigger", "renewal_thanks"))
    files |= written(run("adapter", "new", "trigger", "order_news", "--on", "Order Completed"))
    files |= written(run("adapter", "new", "source", "examplecdp"))
    files |= written(run("adapter", "new", "esp", "examplemail"))
    code = sorted(file for file in files if file.endswith(".py"))
    assert len(code) == 9 + 4
    for check in (("check",), ("format", "--check")):
        done = run("ruff", *check, *code)
        assert done.returncode == 0, done.stdout
    if (ROOT / ".mypy_cache").is_dir():
        shutil.copytree(ROOT / ".mypy_cache", tree / ".mypy_cache")
    stems = [file.removesuffix(".py").removesuffix("/__init__") for file in code]
    done = run("mypy", *(word for stem in stems for word in ("-m", stem.replace("/", "."))))
    errors = [line for line in done.stdout.splitlines() if line.partition(":")[0] in code]
    assert errors == [], done.stdout
    assert done.returncode == 0 or "errors" in done.stdout, done.stderr


def test_a_new_event_type_fails_until_its_pairs_are_filled_in(tree: Path, run: Run) -> None:
    assert written(run("adapter", "new", "event", "Subscription Renewed", "--from", "segment,mparticle")) == {
        "catalog/events/subscription_renewed.py",
        "catalog/events/__init__.py",
        *(
            f"tests/payloads/{kind}/subscription_renewed__full.{half}"
            for kind in ("segment", "mparticle")
            for half in ("json", "expected.json")
        ),
    }
    tests = run(
        "pytest", "-q", "-p", "no:cacheprovider", "tests/adapter/sources/test_payloads.py", "-k", "subscription_renewed"
    )
    assert tests.returncode == 1
    assert "write all that is read from subscription_renewed__full.json by hand" in tests.stdout
    check = run("adapter", "check")
    assert check.returncode == 1
    assert "segment/subscription_renewed__full.expected.json:1: fill in: write all that is read" in check.stdout
    for kind in ("segment", "mparticle"):
        body = f"tests/payloads/{kind}/subscription_renewed__full.json"
        verdict = json.loads(run("adapter", "read", body, "--source", kind, "--json").stdout)["verdicts"][0]
        assert (verdict["name"], verdict["user_id"], verdict["email"]) == (
            "Subscription Renewed",
            "u-1",
            "ada@example.com",
        )
        assert verdict["fields"] == {"plan": "fill in"}
        expected = {key: verdict[key] for key in list(verdict)[: list(verdict).index("clamped") + 1]}
        (tree / body.replace(".json", ".expected.json")).write_text(json.dumps(expected))
    code = tree / "catalog/events/subscription_renewed.py"
    faults = run("adapter", "check").stdout
    assert {line.partition(":")[0] for line in faults.splitlines()} == {"catalog/events/subscription_renewed.py"}
    code.write_text(code.read_text().replace("FILL IN", ""))
    check = run("adapter", "check")
    assert (check.returncode, check.stdout.splitlines()[-1].endswith("no fault")) == (0, True)


def test_a_new_trigger_fails_until_it_is_filled_in(tree: Path, run: Run) -> None:
    written(run("adapter", "new", "trigger", "order_news", "--on", "Order Completed"))
    assert 'on=("Order Completed",),\n    about="order",' in (tree / "catalog/triggers/order_news.py").read_text()
    tests = run("pytest", "-q", "-p", "no:cacheprovider", "tests/engine/test_order_news.py")
    assert tests.returncode == 1
    assert "fill in: say what happened" in tests.stdout
    check = run("adapter", "check")
    assert check.returncode == 1
    assert {line.partition(":")[0] for line in check.stdout.splitlines()} == {"catalog/triggers/order_news.py"}
    assert "catalog/triggers/order_news.py:1: fill in: which mail, when, and when not." in check.stdout
    written(run("adapter", "new", "trigger", "order_part", "--on", "Order Completed", "--subject", "order_id"))
    lint = run("ruff", "check", "catalog/triggers/order_part.py", "--config", "line-length=120")
    assert lint.returncode == 0, lint.stdout
    part = (tree / "catalog/triggers/order_part.py").read_text()
    assert 'subject=("order_id",),\n' in part
    assert "subject: SubjectView" in part
    check = run("adapter", "check")
    assert "order_part.py:1: fill in" in check.stdout
    assert "its subject" not in check.stdout
    written(run("adapter", "new", "trigger", "unheard"))
    assert "trigger unheard: starts on nothing" in run("adapter", "check").stdout


def test_a_new_source_and_a_new_esp_fail_until_they_are_filled_in(tree: Path, run: Run) -> None:
    written(run("adapter", "new", "source", "examplecdp"))
    tests = run("pytest", "-q", "-p", "no:cacheprovider", "tests/adapter/sources/test_examplecdp.py")
    assert tests.returncode == 1
    assert "fill in: every FILL IN of adapter/sources/examplecdp.py" in tests.stdout
    written(run("adapter", "new", "esp", "examplemail"))
    tests = run("pytest", "-q", "-p", "no:cacheprovider", "tests/workers/esp/test_examplemail.py", "-k", "filled_in")
    assert tests.returncode == 1
    assert "fill in: every FILL IN of workers/esp/examplemail.py" in tests.stdout


def test_a_new_source_that_is_filled_in_holds_the_contract(tree: Path, run: Run) -> None:
    """The least that can be filled in: a spelling of one event type, and the element that says it."""
    written(run("adapter", "new", "source", "examplecdp"))
    viewed = tree / "catalog/events/product_viewed.py"
    spelling = '        "examplecdp": From(when={"event": "viewed"}, paths={"product": "item"}),\n    },\n    marks'
    viewed.write_text(viewed.read_text().replace("    },\n    marks", spelling, 1))
    test = tree / "tests/adapter/sources/test_examplecdp.py"
    test.write_text(test.read_text().replace('"FILL IN"', '"viewed"').partition("def test_it_is_filled_in")[0])
    done = run("pytest", "-q", "-p", "no:cacheprovider", "tests/adapter/sources/test_examplecdp.py")
    assert done.returncode == 0, done.stdout


def test_nothing_is_overwritten(tree: Path, run: Run) -> None:
    before = {path: path.read_bytes() for path in (tree / "catalog").rglob("*.py")}
    for words in (("event", "Order Completed"), ("trigger", "welcome")):
        done = run("adapter", "new", *words)
        assert done.returncode == 1
        assert "already" in done.stderr
    assert {path: path.read_bytes() for path in (tree / "catalog").rglob("*.py")} == before


def test_a_catalog_of_ones_own_elsewhere(tree: Path, run: Run) -> None:
    home = tree / "docs" / "example"
    files = written(run("adapter", "new", "event", "Subscription Paused", "--catalog", "myshop/catalog", cwd=home))
    assert files == {
        "myshop/catalog/events/subscription_paused.py",
        "myshop/catalog/events/__init__.py",
        "myshop/payloads/segment/subscription_paused__full.json",
        "myshop/payloads/segment/subscription_paused__full.expected.json",
    }
    files = written(run("adapter", "new", "trigger", "come_back", cwd=home))
    assert files == {
        "myshop/catalog/triggers/come_back.py",
        "myshop/catalog/triggers/__init__.py",
        "myshop/tests/test_come_back.py",
    }
    assert 'World("myshop.catalog")' in (home / "myshop/tests/test_come_back.py").read_text()
    check = run("adapter", "check", cwd=home)
    assert check.returncode == 1
    assert "myshop/payloads/segment/subscription_paused__full.expected.json:1: fill in" in check.stdout
    assert "myshop/catalog/triggers/come_back.py:22: trigger come_back: starts on nothing" in check.stdout
    assert run("ruff", "check", "myshop", cwd=home).returncode == 0
    unfilled = run("pytest", "-q", "-p", "no:cacheprovider", "myshop/tests/test_come_back.py", cwd=home)
    assert unfilled.returncode == 1
    assert "fill in: say what happened" in unfilled.stdout


@pytest.mark.parametrize("name", ["", "1st", "class", 'a"b', "a\\b", "a\nb", "{x}", "x" * 61, "…"])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(FreshgateError, match="cannot be a name"):
        names(name)


def test_a_name_as_texts_files_and_constants_have_it() -> None:
    assert names("Subscription Renewed") == {
        "name": "Subscription Renewed",
        "slug": "subscription_renewed",
        "constant": "SUBSCRIPTION_RENEWED",
        "class_name": "SubscriptionRenewed",
        "title": "Subscription Renewed",
    }
    assert names("renewal_thanks")["title"] == "Renewal thanks"
