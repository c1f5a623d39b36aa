"""Every expression against a real Prometheus that scrapes the real system under traffic and provoked faults.

No expression is an error, and none is empty, but for those listed here with their reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapter import demo
from dashboards.generate import HERE
from tests.dashboards import expressions
from tests.dashboards.tools import ROOT, tool
from tests.harness.ports import free_ports
from tests.harness.system import System

pytestmark = [pytest.mark.tools, pytest.mark.timeout(240)]
TRAFFIC_S = 20
# Part of an expression → why it has no result here.
RIGHTLY_EMPTY = {
    "offset 1w": "the system has not run for a week",
    "offset 5m": "shows only what has changed since",
    "freshgate_redis_max_memory_bytes) > 0": "the embedded Valkey has no limit",
    "absent": "a timers process is scraped",
    'status=~"5.."': "no request failed",
}
JOBS = {"receiver": "METRICS_PORT", "worker": "WORKER_METRICS_PORT", "timers": "TIMERS_METRICS_PORT"}


class Prometheus:
    """One that scrapes a System every second, with our rules."""

    def __init__(self, folder: Path, system: System) -> None:
        (self.port,) = free_ports(1)
        scraped = [
            {"job_name": f"freshgate-{job}", "static_configs": [{"targets": [f"127.0.0.1:{system.ports[port]}"]}]}
            for job, port in JOBS.items()
        ]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(HERE / "prometheus" / "*.yml")],
            "scrape_configs": scraped,
        }
        rules = folder / "prometheus.yml"
        rules.write_text(yaml.safe_dump(config), encoding="utf-8")
        address = f"127.0.0.1:{self.port}"
        command = [tool("prometheus"), f"--config.file={rules}", f"--storage.tsdb.path={folder / 'tsdb'}"]
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [*command, f"--web.listen-address={address}"], stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL
        )

    def query(self, expr: str) -> list[Any]:
        """The result of an instant query; ValueError with Prometheus' words when it is refused."""
        body = urllib.parse.urlencode({"query": expr}).encode()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/query", body, timeout=20) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", "")) from None
        result: list[Any] = told["data"]["result"]
        return result

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
    """Traffic as in life, and then everything that goes wrong."""
    sandbox = f"http://127.0.0.1:{system.ports['SANDBOX_PORT']}"
    traffic = [sys.executable, "-m", "adapter", "traffic", "--rate", "8", "--for", str(TRAFFIC_S), "--sandbox", sandbox]
    done = subprocess.run(
        traffic, cwd=ROOT, env=system.environ, capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == 0, done.stderr
    for status in (401, 400, 503):
        assert system.faults(kind="status", status=status, count=2).status == 200
    for number in range(8):
        order = {"order_id": f"live-{number}", "email": f"live{number}@example.com"}
        event = {"type": "track", "event": "Order Completed", "userId": f"live-{number}", "properties": order}
        assert system.post(event).status == 200
    body = json.dumps([{"type": "track"}, {"type": "track"}], separators=(",", ":")).encode()
    signed = {"x-signature": demo.sign("system-test-secret", b'{"type":"track"}'), "content-type": "application/json"}
    for headers in (signed, {**signed, "x-signature": "00"}):
        assert system.request("PORT", "POST", "/webhooks/segment", body, headers).status == 401
    torn = b'{"type":'
    headers = {**signed, "x-signature": demo.sign("system-test-secret", torn), "x-freshgate-token": "system-test-token"}
    assert system.request("PORT", "POST", "/webhooks/segment", torn, headers).status == 400


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    short = {
        "FRESHGATE_TRIGGERS__ABANDONED_CART__DELAY": "4s",
        "FRESHGATE_TRIGGERS__ABANDONED_CART__SETTLE": "1s",
        "FRESHGATE_TRIGGERS__BROWSE_ABANDONMENT__DELAY": "4s",
        "FRESHGATE_TRIGGERS__BROWSE_ABANDONMENT__SETTLE": "1s",
    }
    with tempfile.TemporaryDirectory(prefix="freshgate-live-") as folder, System(short) as system:
        server = Prometheus(Path(folder), system)
        try:
            system.wait_for(server.is_ready, 30)
            shop(system)
            # The workers are done, and it has all been scraped and recorded.
            busy = "sum(freshgate_timers_overdue) + sum(freshgate_leases_open) + sum(freshgate_queue_jobs)"
            system.wait_for(lambda: [one["value"][1] for one in server.query(busy)] == ["0"], 60)
            system.wait_for(lambda: server.query("freshgate:mails_late:ratio_3d"), 30)
            time.sleep(3)
            yield server
        finally:
            server.stop()


def empty(prometheus: Prometheus, parts: list[tuple[str, str]]) -> list[str]:
    """Where and what, of those without a result and without a reason for it."""
    found = []
    for where, expr in parts:
        if not prometheus.query(expr) and not any(part in expr for part in RIGHTLY_EMPTY):
            found.append(f"{where}: {expr}")
    return found


def test_no_panel_is_empty(prometheus: Prometheus) -> None:
    parts = [(one.where, one.filled) for one in expressions.of_panels()]
    assert empty(prometheus, parts) == []


def test_no_panel_is_without_a_number(prometheus: Prometheus) -> None:
    """NaN everywhere is as bad as nothing."""
    nothing = []
    for one in expressions.of_panels():
        values = {sample["value"][1] for sample in prometheus.query(one.filled)}
        if values and values <= {"NaN"}:
            nothing.append(f"{one.where}: {one.filled}")
    assert nothing == []


def test_no_rule_is_an_error_and_no_part_of_an_alert_is_empty(prometheus: Prometheus) -> None:
    for one in expressions.of_rules():
        prometheus.query(one.filled)
    parts = [(one.where, part) for one in expressions.of_rules() for part in expressions.operands(one.text)]
    assert empty(prometheus, parts) == []


def test_an_expression_that_is_wrong_or_empty_is_noticed(prometheus: Prometheus) -> None:
    assert empty(prometheus, [("here", "freshgate_made_up_total")]) == ["here: freshgate_made_up_total"]
    with pytest.raises(ValueError, match="parse error"):
        prometheus.query("sum by (")


def test_every_process_is_scraped_and_no_series_is_for_nobody(prometheus: Prometheus) -> None:
    names = {one["metric"]["__name__"] for one in prometheus.query('count by (__name__) ({__name__=~"freshgate_.*"})')}
    assert {"freshgate_redis_up", "freshgate_sends_total", "freshgate_events_total"} <= names
    assert not [name for name in names if name.endswith("_created")]


def test_the_provoked_faults_are_seen(prometheus: Prometheus) -> None:
    for expr in (
        'sum(freshgate_unauthentic_requests_total{reason="BatchWithoutToken"}) > 0',
        'sum(freshgate_requests_refused_total{status="400"}) > 0',
        'sum(freshgate_esp_errors_total{error="blocked"}) > 0',
        'sum(freshgate_esp_errors_total{error="permanent"}) > 0',
        'ALERTS{alertname="Watchdog",alertstate="firing"}',
    ):
        assert prometheus.query(expr), expr


def test_the_clock_of_the_last_event_is_right(prometheus: Prometheus) -> None:
    (one,) = prometheus.query('time() - freshgate_last_event_timestamp_seconds{source="segment"}')
    assert 0 <= float(one["value"][1]) < 240
