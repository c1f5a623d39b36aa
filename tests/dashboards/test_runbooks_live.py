"""Runs the commands of every runbook beside a running system: each succeeds.

Only the placeholders for the operator, ports and folders are replaced. `test_alerts.py` checks the text.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adapter.ingest import quarantine
from adapter.ingest.quarantine import QuarantinedElement, short_id
from freshgate.state.store import connect
from tests.dashboards.observing import Observing
from tests.dashboards.test_alerts import RUNBOOKS, commands
from tests.dashboards.tools import ROOT

pytestmark = [pytest.mark.tools, pytest.mark.timeout(240)]
ORDER = {
    "type": "track",
    "event": "Order Completed",
    "userId": "runbook-reader",
    "messageId": "runbook-1",
    "properties": {"order_id": "runbook-1", "email": "runbook@example.com", "total": 1, "currency": "EUR"},
}
USUAL = {"PORT": 8080, "METRICS_PORT": 9108, "WORKER_METRICS_PORT": 9109, "TIMERS_METRICS_PORT": 9110}
# These start a process that does not end; the system runs one of each already.
STAY = ("FRESHGATE_WORKER_METRICS_PORT=9119 .venv/bin/python -m workers deliver",)
# These exit with 1 in the test, because there is no such send, and no such hold.
NOTHING_THERE = {
    ".venv/bin/python -m adapter why SEND",
    ".venv/bin/python -m workers unknown resend --send SEND",
    ".venv/bin/python -m workers unknown close --send SEND",
    ".venv/bin/python -m workers rejected close --send SEND",
    ".venv/bin/python -m workers release",
    ".venv/bin/python -m workers release TRIGGER",
    ".venv/bin/python -m workers release nobody",
    ".venv/bin/python -m workers release --sent-until TIME",
    ".venv/bin/python -m workers release --sent-until none",
    ".venv/bin/python -m workers release esp:ACCOUNT",
}
# These exit with 1 and print nothing, because no ESP has reported anything.
NOTHING_REPORTED = {
    f"curl -sS --max-time 5 http://127.0.0.1:9108/metrics | grep {metric}"
    for metric in ("freshgate_feedback_total", "freshgate_unauthentic_feedback")
}
ALL = {command for text in RUNBOOKS.values() for command in commands(text)} - set(STAY)
RESTARTS = sorted(command for command in ALL if command.startswith("kill "))
COMMANDS = sorted(ALL - set(RESTARTS))


class Desk:
    """An operator's terminal beside the running system, with one shopper, one element and one send to name."""

    def __init__(self, system: Observing) -> None:
        self.system = system
        self.event = system.var / "event.json"
        self.event.write_text(json.dumps(ORDER), encoding="utf-8")
        client = connect((system.var / "redis" / "url").read_text(encoding="utf-8").strip())
        quarantine.add_elements(
            client, [QuarantinedElement("segment", json.dumps({**ORDER, "messageId": "runbook-2"}).encode(), 1)]
        )
        self.element = short_id(next(quarantine.list_elements(client))[0])
        client.close()

    def filled(self, command: str) -> str:
        values = {
            "SHOPPER": "runbook-reader",
            "TRIGGER": "welcome",
            "SEND": "0123456789abcdef01234567",
            "SOURCE": "segment",
            "ACCOUNT": "sendgrid",
            # No shop wants outcomes here.
            "outcomes.main": "sendgrid",
            "--sent-until TIME": "--sent-until 2026-01-01",
            "backup FOLDER": f"backup {self.system.var}/backups",
            " event.json": f" {self.event}",
            "--source NAME FILE": f"--source segment {self.event}",
            "quarantine show NAME": f"quarantine show {self.element}",
            "--only NAME": f"--only {self.element}",
            "var/log/": f"{self.system.var}/log/",
            "var/pids/": f"{self.system.var}/pids/",
            ":9090/": f":{self.system.prometheus}/",
            ":9093/": f":{self.system.alertmanager}/",
            **{f":{usual}/": f":{self.system.ports[name]}/" for name, usual in USUAL.items()},
        }
        for placeholder, value in values.items():
            command = command.replace(placeholder, value)
        return command

    def paste(self, command: str) -> subprocess.CompletedProcess[str]:
        # As in a new terminal: the checkout's own Python is not on it.
        path = ":".join(at for at in os.environ["PATH"].split(":") if Path(at) != Path(sys.executable).parent)
        return subprocess.run(
            ["bash", "-c", self.filled(command)],
            cwd=ROOT,
            env={**self.system.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture(scope="module")
def desk(observing: Observing) -> Desk:
    assert observing.post(ORDER).status == 200
    observing.wait_for(lambda: any(mail["to"] == "runbook@example.com" for mail in observing.outbox()))
    return Desk(observing)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_runbooks_command_works_when_it_is_pasted(desk: Desk, command: str) -> None:
    if "quarantine" in command:
        desk = Desk(desk.system)
    done = desk.paste(command)
    output: Any = (command, done.stdout[-500:], done.stderr[-500:])
    assert done.returncode == (1 if command in NOTHING_THERE | NOTHING_REPORTED else 0), output
    is_silent = "tail" in command or command in NOTHING_REPORTED
    assert done.stdout.strip() or done.stderr.strip() or is_silent, output
    assert "Traceback" not in done.stdout + done.stderr, output
    if "workers hold" in command and "--list" not in command:
        # Only what was held ends with 0; afterwards nothing is.
        released = [desk.paste(f".venv/bin/python -m workers release{name}") for name in ("", " TRIGGER")]
        assert sorted(release.returncode for release in released) == [0, 1]
        assert "still held: none" in released[-1].stdout


@pytest.mark.parametrize("command", RESTARTS)
def test_a_process_that_a_runbook_ends_is_started_again(desk: Desk, command: str) -> None:
    (name,) = re.findall(r"pids/(\w+)", command)
    file = desk.system.var / "pids" / name
    before = desk.system.wait_for(lambda: file.read_text(encoding="ascii") if file.exists() else "")
    assert desk.paste(command).returncode == 0
    desk.system.wait_for(lambda: file.exists() and file.read_text(encoding="ascii") not in ("", before), 60)
    urls = {
        "receiver": "9108/metrics",
        "worker": "9109/metrics",
        "timers": "9110/metrics",
        # It asks Redis.
        "redis": "8080/readyz",
    }
    desk.system.wait_for(lambda: desk.paste(f"curl -sf --max-time 5 http://127.0.0.1:{urls[name]}").returncode == 0, 60)


def test_a_command_that_does_not_work_is_noticed(desk: Desk) -> None:
    assert desk.paste("curl -sS --max-time 5 http://127.0.0.1:9108/metrics | grep freshgate_made_up").returncode != 0
    python = ".venv/bin/python -m adapter"
    assert desk.paste(f"{python} quarantine show ffffffff | {python} read - --source SOURCE").stderr
    assert desk.paste(f"{python} whi SHOPPER").returncode != 0


def test_what_an_operator_fills_in_is_known(desk: Desk) -> None:
    """A placeholder in capitals that is not replaced would be taken literally."""
    for command in COMMANDS:
        assert not re.search(r"\b[A-Z]{4,}\b", desk.filled(command).replace(str(desk.system.var), "")), command
