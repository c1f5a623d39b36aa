"""Prometheus and Alertmanager's amtool for the tests: Debian's packages, unpacked into var/tools, no root needed.

The tests marked `tools` use them; where they cannot be fetched these are skipped, in CI they fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "var" / "tools"
PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
}


def tool(name: str) -> str:
    """The path of a program. Fetches its package when it is not here yet."""
    found = shutil.which(name)
    if found:
        return found
    program = FOLDER / "usr" / "bin" / name
    if not program.exists():
        try:
            _fetch(PACKAGES[name])
        except (OSError, subprocess.SubprocessError) as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"{name} cannot be fetched from Debian: {error}")
    return str(program)


def _fetch(package: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True, capture_output=True, timeout=300)
        (file,) = Path(folder).glob("*.deb")
        subprocess.run(["dpkg", "-x", str(file), str(FOLDER)], check=True, capture_output=True, timeout=60)


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The tool's exit code and what it said."""
    command = [tool(name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=ROOT)
