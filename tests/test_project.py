"""The files around the code: workflows, hooks and dev container call commands that exist; a tag names the version.

`tests/deploy` has the files that run the product.
"""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest
import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

from freshgate.version import VERSION
from tests.conftest import SLOW
from tests.harness.system import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CALLERS = [*WORKFLOWS, ROOT / ".ci" / "run", ROOT / ".devcontainer" / "devcontainer.json"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", [*WORKFLOWS, ROOT / ".pre-commit-config.yaml"], ids=lambda file: file.name)
def test_yamllint_is_content(file: os.PathLike[str]) -> None:
    config = YamlLintConfig((ROOT / ".yamllint.yml").read_text(encoding="utf-8"))
    with open(file, encoding="utf-8") as stream:
        assert [str(problem) for problem in linter.run(stream, config)] == []


@pytest.mark.parametrize("file", CALLERS, ids=lambda file: file.name)
def test_each_make_target_that_is_called_exists(file: os.PathLike[str]) -> None:
    with open(file, encoding="utf-8") as stream:
        called = set(re.findall(r"\bmake ([a-z-]+)", stream.read()))
    assert [target for target in called if f"\n{target}:" not in MAKEFILE] == []


def test_each_target_that_help_lists_is_phony() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony
    assert sorted(phony[1].split()) == sorted(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_each_action_is_pinned_by_its_commit(file: os.PathLike[str]) -> None:
    with open(file, encoding="utf-8") as stream:
        jobs = yaml.safe_load(stream)["jobs"]
    actions = [step["uses"] for job in jobs.values() for step in job["steps"] if "uses" in step]
    assert actions
    assert [action for action in actions if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)] == []


def test_each_hook_runs_a_program_of_the_virtual_environment() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    programs = [hook["entry"].split()[0] for hook in repository["hooks"]]
    assert [program for program in programs if not os.access(ROOT / program, os.X_OK)] == []


def test_the_dev_container_forwards_the_default_ports() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert set(map(str, container["forwardPorts"])) == set(container["portsAttributes"])


@pytest.mark.parametrize("path", SLOW)
def test_each_slow_path_exists(path: str) -> None:
    assert (ROOT / "tests" / path).exists(), "take it off SLOW in tests/conftest.py"


@pytest.mark.parametrize(("tag", "code"), [(f"v{VERSION}", 0), (VERSION, 2), ("v99.0.0", 2), ("", 2)])
def test_only_the_tag_of_the_version_is_released(tag: str, code: int) -> None:
    command = ["make", "version-check", f"TAG={tag}"]
    completed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert completed.returncode == code, completed.stderr
    assert code == 0 or f"tag v{VERSION}" in completed.stderr
