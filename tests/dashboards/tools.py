"""The programs of `dashboards/preview/tools.py` for the tests marked `tools`.

If a program cannot be fetched, its tests are skipped; in CI they fail.
"""

from __future__ import annotations

import importlib
import os
import subprocess
from typing import Any

import pytest

from dashboards.preview import tools

ROOT = tools.ROOT


def tool(name: str) -> str:
    """The path of a program."""
    try:
        return str(tools.find_program(name))
    except tools.ToolMissing as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def module(name: str) -> Any:
    """Imports a module of requirements-tools.txt."""
    if os.environ.get("CI"):
        return importlib.import_module(name)
    return pytest.importorskip(name)


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the tool, and returns its exit code and output."""
    command = [tool(name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=360, cwd=ROOT)
