"""What pip installs is pinned and hashed, and the hashes belong to the pins."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==([^ \\;\n]+)", re.MULTILINE)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
SOURCES = sorted(ROOT.glob("requirements*.in"))


def pins(text: str) -> dict[str, str]:
    return {re.sub(r"[._-]+", "-", name): version for name, version in PIN.findall(text)}


def test_there_are_requirements() -> None:
    assert len(SOURCES) == len(list(ROOT.glob("requirements*.txt"))) == 10


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_locked_file_has_the_pins_and_a_hash_for_each(source: Path) -> None:
    text, locked = source.read_text(encoding="utf-8"), source.with_suffix(".txt").read_text(encoding="utf-8")
    assert pins(locked) == pins(text)
    entries = re.split(r"\n(?=\S)", locked)
    assert [entry for entry in entries if PIN.match(entry) and not HASH.search(entry)] == []
    built_upon = [line.replace(".in", ".txt") for line in text.splitlines() if line.startswith("-r ")]
    assert [line for line in locked.splitlines() if line.startswith("-r ")] == built_upon
    others = [line for line in text.splitlines() if line and not PIN.match(line) and line[0] not in "#-"]
    assert others == []


def test_nothing_is_installed_without_its_hash() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lines = [line for line in makefile.splitlines() if not line.startswith("#")]
    installs = [line for line in lines if "pip install" in line or "$(INSTALL)" in line]
    assert installs
    assert all("--require-hashes" in line or "$(INSTALL)" in line for line in installs)
    docker = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert all("--require-hashes" in line for line in docker.splitlines() if re.search(r"\bpip\b.* install\b", line))


def test_a_wheel_of_ours_asks_for_the_same_releases() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    # setuptools reads pins, not hashes.
    assert project["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements.in"]}


@pytest.mark.parametrize("text", ["flask==3\n", "flask>=3 \\\n    --hash=sha256:0", "flask==3 \\\n    --hash=md5:0"])
def test_a_pin_without_a_hash_is_noticed(text: str) -> None:
    assert not (PIN.search(text) and HASH.search(text))
