"""Segment's SDK for Node, from the npm registry, with only its host changed: each call arrives once.

`node_sdk.cjs` is the program that uses it; `test_python_sdk.py` has the same for Python.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness.npm import installed
from tests.harness.system import System
from tests.sdks.conftest import KEY, new_verdicts, verdicts

PACKAGE = "@segment/analytics-node@3.1.0"

pytestmark = pytest.mark.tools


def test_every_call_arrives_once_and_the_mail_leaves(system: System) -> None:
    modules = installed(PACKAGE)
    node = shutil.which("node")
    assert node
    before = verdicts(system)
    host = f"http://127.0.0.1:{system.ports['PORT']}"
    program = [node, str(Path(__file__).with_name("node_sdk.cjs")), host, KEY, "grace"]
    environ = {**os.environ, "NODE_PATH": str(modules)}
    completed = subprocess.run(program, env=environ, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(completed.stdout) == {"accepted": 107, "errors": []}
    assert new_verdicts(before, verdicts(system)) == {"accepted": 107}
    sent = system.wait_for(system.outbox)
    assert [(mail["to"], mail["custom_args"]["freshgate_trigger"]) for mail in sent] == [
        ("grace@example.com", "order_confirmation")
    ]
