"""deploy/pager.py, the demo's pager: shows what Alertmanager sends, serves the runbooks, and trusts neither."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from deploy import pager
from tests.deploy.stack import ROOT

RUNBOOKS = ROOT / "dashboards" / "runbooks"
ALERT = {
    "status": "firing",
    "startsAt": "2026-11-30T12:00:00.000Z",
    "labels": {"alertname": "NoWorker", "severity": "page"},
    "annotations": {"summary": "No worker.", "runbook_url": "http://x.example/NoWorker.md", "dashboard_url": "/d/x"},
}


@pytest.fixture
def url() -> Iterator[str]:
    server = pager.Pager(("127.0.0.1", 0), RUNBOOKS)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ask(url: str, body: bytes | None = None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, body, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def send(url: str, *alerts: Any) -> int:
    return ask(f"{url}/alerts", json.dumps({"version": "4", "receiver": "page", "alerts": alerts}).encode())[0]


def test_an_alert_is_shown_with_its_runbook(url: str) -> None:
    assert "Nothing yet" in ask(url)[1]
    assert send(url, ALERT) == 200
    (shown,) = json.loads(ask(f"{url}/notifications")[1])
    assert (shown["receiver"], shown["alert"], shown["status"]) == ("page", "NoWorker", "firing")
    page = ask(f"{url}/")[1]
    assert '<a href="http://x.example/NoWorker.md">runbook</a>' in page
    # A link without a scheme of the web's is none.
    assert "/d/x" not in page


def test_what_an_alert_says_is_text_and_never_markup(url: str) -> None:
    evil = "<script>alert(1)</script>"
    send(
        url,
        {
            **ALERT,
            "annotations": {"summary": evil, "runbook_url": f'http://x/">{evil}', "dashboard_url": "javascript:1"},
        },
    )
    page = ask(f"{url}/")[1]
    assert "<script" not in page
    assert "javascript:" not in page


def test_every_runbook_is_served_and_nothing_else(url: str) -> None:
    for file in RUNBOOKS.glob("*.md"):
        assert ask(f"{url}/runbooks/{file.name}") == (200, file.read_text(encoding="utf-8"))
    for path in ("/runbooks/Nobody.md", "/runbooks/../README.md", "/runbooks/%2e%2e/README.md", "/etc/passwd"):
        assert ask(url + path)[0] == 404


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"alerts": 1}', b"\xff"])
def test_what_is_no_notification_is_refused(url: str, body: bytes) -> None:
    assert ask(f"{url}/alerts", body)[0] == 400
    assert json.loads(ask(f"{url}/notifications")[1]) == []


def test_it_holds_the_newest_and_takes_no_large_body(url: str) -> None:
    send(url, *({**ALERT, "labels": {"alertname": f"A{number}"}} for number in range(pager.MAX_NOTIFICATIONS + 5)))
    shown = json.loads(ask(f"{url}/notifications")[1])
    assert (len(shown), shown[-1]["alert"]) == (pager.MAX_NOTIFICATIONS, f"A{pager.MAX_NOTIFICATIONS + 4}")
    connection = HTTPConnection(url.removeprefix("http://"), timeout=5)
    connection.putrequest("POST", "/alerts")
    connection.putheader("content-length", str(pager.MAX_BODY_BYTES + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_it_runs_isolated_and_ends_when_asked(free_port: Callable[[], int], tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-IS", str(ROOT / "deploy" / "pager.py"), "--port", str(port)]
    process = subprocess.Popen(command, cwd=tmp_path)
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        try:
            assert ask(f"http://127.0.0.1:{port}/runbooks/NoWorker.md")[0] == 200
            break
        except OSError:
            time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
