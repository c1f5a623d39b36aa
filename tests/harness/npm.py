"""Packages of the npm registry for the tests marked `tools`, in var/tools/npm.

Where they cannot be had those tests are skipped; in CI they fail.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.harness.system import ROOT

FOLDER = ROOT / "var" / "tools" / "npm"


def installed(package: str) -> Path:
    """The folder of modules, with this package (name@version) among them."""
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
