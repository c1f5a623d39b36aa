"""Packages of the npm registry for tests marked `tools`, installed in var/tools/npm.

Where a package cannot be installed the test is skipped; in CI it fails.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.harness.system import ROOT

FOLDER = ROOT / "var" / "tools" / "npm"


def installed(package: str) -> Path:
    """Install a package (name@version) unless it is there; returns the folder of modules."""
    stamp = FOLDER / package.replace("/", "_")
    if not stamp.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--prefix", str(FOLDER), "--no-audit", "--no-fund", "--ignore-scripts", package]
        try:
            subprocess.run(install, check=True, capture_output=True, timeout=110)
        except (OSError, subprocess.SubprocessError) as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"{package} cannot be installed: {error}")
        stamp.touch()
    return FOLDER / "node_modules"
