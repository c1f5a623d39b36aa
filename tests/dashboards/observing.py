"""`make observe` for the tests, on free ports and in a folder of its own, and requests to Prometheus and Alertmanager.

`conftest.py` starts one for each module that asks for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.dashboards.tools import ROOT, tool
from tests.harness.ports import free_ports
from tests.harness.system import System


class Observing(System):
    """A System that runs `python -m dashboards.observe` instead of `python -m adapter run`."""

    def __init__(self, folder: Path) -> None:
        # A mail that the ESP defers once is dead at once, so that an alert fires within seconds.
        super().__init__({"FRESHGATE_TRIGGERS__ORDER_CONFIRMATION__MAX_AGE": "1s"}, var=folder)
        self.prometheus, self.alertmanager, self.pager = free_ports(3)
        ports = {
            "PROMETHEUS_PORT": str(self.prometheus),
            "ALERTMANAGER_PORT": str(self.alertmanager),
            "PAGER_PORT": str(self.pager),
        }
        self.environ |= ports

    def start(self) -> None:
        for name in ("prometheus", "prometheus-alertmanager"):
            tool(name)
        with self._console.open("wb") as console:
            command = [sys.executable, "-m", "dashboards.observe", "--rate", "6"]
            self.launcher = subprocess.Popen(
                command, cwd=ROOT, env=self.environ, stdout=console, stderr=console, start_new_session=True
            )
        launcher = self.launcher
        self.wait_for(lambda: "Alertmanager: http" in self.console() or launcher.poll() is not None, timeout=90)
        assert launcher.poll() is None, self.console()

    def query(self, expr: str) -> list[Any]:
        result: list[Any] = asked(self.prometheus, f"/api/v1/query?query={urllib.parse.quote(expr)}")["data"]["result"]
        return result

    def alerts(self) -> dict[str, Any]:
        """Alertmanager's alerts, by name."""
        return {alert["labels"]["alertname"]: alert for alert in asked(self.alertmanager, "/api/v2/alerts")}

    def paged(self) -> list[dict[str, str]]:
        """What the demo's pager was sent."""
        notifications: list[dict[str, str]] = asked(self.pager, "/notifications")
        return notifications

    def tell(self, *alerts: dict[str, str]) -> None:
        """Sends firing alerts to Alertmanager, as Prometheus does."""
        body = json.dumps([{"labels": labels} for labels in alerts]).encode()
        asked(self.alertmanager, "/api/v2/alerts", body)


def fetch(url: str) -> str:
    """The text that is served there."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        return str(answer.read().decode())


def asked(port: int, path: str, body: bytes | None = None) -> Any:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        text = answer.read()
    return json.loads(text) if text else None
