"""Metrics and the sandbox listen on loopback unless the settings name another host; the sandbox then needs a password.

Linux gives every address of 127.0.0.0/8 to this machine, so the tests need no other network.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.deploy.stack import ROOT
from tests.harness.system import System


def listens(host: str, port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex((host, port)) == 0


def test_metrics_and_sandbox_listen_where_the_settings_say_and_nowhere_else() -> None:
    moved = {
        "FRESHGATE_METRICS_HOST": "127.0.0.2",
        "FRESHGATE_SANDBOX_HOST": "127.0.0.3",
    }
    with System(moved) as system:
        metrics = [system.ports[name] for name in ("METRICS_PORT", "WORKER_METRICS_PORT", "TIMERS_METRICS_PORT")]
        assert [listens("127.0.0.2", port) for port in metrics] == [True] * 3
        assert [listens("127.0.0.1", port) for port in metrics] == [False] * 3
        assert listens("127.0.0.3", system.ports["SANDBOX_PORT"])
        assert not listens("127.0.0.1", system.ports["SANDBOX_PORT"])


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_sandbox_for_other_machines_does_not_start_without_a_password(
    host: str, free_port: Callable[[], int]
) -> None:
    environ = {"FRESHGATE_SANDBOX_HOST": host, "FRESHGATE_SANDBOX_PORT": str(free_port())}
    command = [sys.executable, "-m", "workers", "sandbox"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "FRESHGATE_SANDBOX_PASSWORD" in done.stderr
