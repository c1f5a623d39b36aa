"""A working directory of their own for the tests of commands, without anybody's settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adapter.commands.develop.check import find_faults
from freshgate.settings import Settings
from tests.adapter.commands.shop import SOUND, Check

ROOT = Path(__file__).parents[3]


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no FRESHGATE_ variable."""
    for name in list(os.environ):
        if name.startswith("FRESHGATE_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def check_shop(workdir: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Check:
    """The faults, as `shop.py:line: text`, of the sound catalog in which `old` is replaced by `new`."""
    monkeypatch.syspath_prepend(str(workdir))
    # A name of its own, since a module stays imported.
    name = "shop" + "".join(filter(str.isalnum, request.node.name.lower()))[:80]

    def call(old: str = "", new: str = "") -> list[str]:
        assert old in SOUND
        (workdir / f"{name}.py").write_text(SOUND.replace(old, new, 1))
        faults = find_faults(name, Settings(catalog=name))
        return [f"{fault.place}: {fault.text}".replace(name, "shop") for fault in faults]

    return call
