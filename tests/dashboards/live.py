"""A system under made-up traffic and faults, and a real Prometheus that scrapes it, for several tests.

`conftest.py` starts them once for all tests of this folder that are marked `tools`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from adapter.sources.segment.signature import sign
from dashboards.generate import DASHBOARDS
from tests.dashboards.tools import ROOT, tool
from tests.harness.ports import free_ports
from tests.harness.system import System

TRAFFIC_S = 20
JOBS = {"receiver": "METRICS_PORT", "worker": "WORKER_METRICS_PORT", "timers": "TIMERS_METRICS_PORT"}


class Prometheus:
    """A Prometheus that scrapes a System every second, with our rules."""

    def __init__(self, folder: Path, system: System) -> None:
        (self.port,) = free_ports(1)
        scraped = [
            {"job_name": f"freshgate-{job}", "static_configs": [{"targets": [f"127.0.0.1:{system.ports[port]}"]}]}
            for job, port in JOBS.items()
        ]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(DASHBOARDS / "prometheus" / "*.yml")],
            "scrape_configs": scraped,
        }
        rules = folder / "prometheus.yml"
        rules.write_text(yaml.safe_dump(config), encoding="utf-8")
        address = f"127.0.0.1:{self.port}"
        command = [tool("prometheus"), f"--config.file={rules}", f"--storage.tsdb.path={folder / 'tsdb'}"]
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [*command, f"--web.listen-address={address}", "--enable-feature=exemplar-storage"],
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
        )

    def query(self, expr: str) -> list[Any]:
        """The result of an instant query. Raises ValueError with Prometheus' message if it is refused."""
        result: list[Any] = self._ask("query", query=expr)["result"]
        return result

    def exemplars(self, expr: str) -> list[dict[str, str]]:
        """The labels of the expression's exemplars in the last hour."""
        now = time.time()
        series = self._ask("query_exemplars", query=expr, start=now - 3600, end=now)
        return [exemplar["labels"] for part in series for exemplar in part["exemplars"]]

    def _ask(self, endpoint: str, **parameters: Any) -> Any:
        body = urllib.parse.urlencode(parameters).encode()
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/api/v1/{endpoint}", body, timeout=20
            ) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", "")) from None

    def is_ready(self) -> bool:
        try:
            return bool(self.query("vector(1)"))
        except (OSError, ValueError):  # nobody listens yet, or it says 503
            return False

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


def shop(system: System) -> None:
    """Sends normal traffic, then provokes every fault that the boards show."""
    sandbox = f"http://127.0.0.1:{system.ports['SANDBOX_PORT']}"
    traffic = [sys.executable, "-m", "adapter", "traffic", "--rate", "8", "--for", str(TRAFFIC_S), "--sandbox", sandbox]
    done = subprocess.run(
        traffic, cwd=ROOT, env=system.environ, capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == 0, done.stderr
    # The refusal of the account comes last: after it nothing leaves for a while.
    for status in (400, 503, 401):
        assert system.faults(kind="status", status=status, count=2).status == 200
    for number in range(8):
        order = {"order_id": f"live-{number}", "email": f"live{number}@example.com"}
        event = {"type": "track", "event": "Order Completed", "userId": f"live-{number}", "properties": order}
        assert system.post(event).status == 200
    body = json.dumps([{"type": "track"}, {"type": "track"}], separators=(",", ":")).encode()
    signed = {"x-signature": sign("system-test-secret", b'{"type":"track"}'), "content-type": "application/json"}
    for headers in (signed, {**signed, "x-signature": "00"}):
        assert system.request("PORT", "POST", "/webhooks/segment", body, headers).status == 401
    torn = b'{"type":'
    headers = {**signed, "x-signature": sign("system-test-secret", torn), "x-freshgate-token": "system-test-token"}
    assert system.request("PORT", "POST", "/webhooks/segment", torn, headers).status == 400
