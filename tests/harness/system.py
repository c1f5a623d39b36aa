"""The whole product as its user runs it, by `python -m adapter run`, on free ports and in a folder of its own.

Tests post events to it and read the sandbox's outbox. It signals only processes that it started.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from adapter.sources.segment.signature import sign
from tests.harness.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
# The variables of the ports, without FRESHGATE_.
PORTS = ("PORT", "SANDBOX_PORT", "METRICS_PORT", "WORKER_METRICS_PORT", "TIMERS_METRICS_PORT")
SECRET = "system-test-secret"
TOKEN = "system-test-token"


class Response(NamedTuple):
    status: int
    json: Any


class System:
    """A context manager: `with System({"FRESHGATE_ORDER_GRACE": "2s"}) as system: system.post({...})`.

    environ  settings, as environment variables
    var      the folder of an earlier System, to continue with its data; a temporary folder if None
    """

    def __init__(self, environ: Mapping[str, str] | None = None, var: Path | None = None) -> None:
        self._temporary = None if var else tempfile.TemporaryDirectory(prefix="freshgate-system-")
        self.var = var or Path(self._temporary.name if self._temporary else "")
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FRESHGATE_")}
        self.environ = {
            **inherited,
            **{f"FRESHGATE_{name}": str(port) for name, port in self.ports.items()},
            "FRESHGATE_VAR": str(self.var),
            "FRESHGATE_SOURCES__SEGMENT__SECRETS": SECRET,
            "FRESHGATE_SOURCES__SEGMENT__TOKENS": TOKEN,
            **(environ or {}),
        }
        self.launcher: subprocess.Popen[bytes] | None = None
        self._console = self.var / "console.txt"

    def __enter__(self) -> System:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._temporary:
            self._temporary.cleanup()

    def start(self) -> None:
        """Start all processes and return when they are ready; AssertionError with the console's text if they fail."""
        self.var.mkdir(parents=True, exist_ok=True)
        with self._console.open("wb") as console:
            self.launcher = subprocess.Popen(
                [sys.executable, "-m", "adapter", "run"],
                cwd=ROOT,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        launcher = self.launcher
        ready = "Freshgate is up"
        try:
            self.wait_for(lambda: ready in self.console() or launcher.poll() is not None, timeout=60)
            assert ready in self.console(), f"did not start:\n{self.console()}"
        except AssertionError:
            self.stop()
            raise

    def stop(self) -> int:
        """Send SIGTERM to the launcher; returns its exit code."""
        if self.launcher is None:
            return 0
        if self.launcher.poll() is None:
            self.launcher.send_signal(signal.SIGTERM)
        try:
            return self.launcher.wait(60)
        except subprocess.TimeoutExpired:
            self.launcher.kill()
            self.launcher.wait()
            raise

    def console(self) -> str:
        return self._console.read_text(encoding="utf-8", errors="replace")

    def post(self, event: Any, source: str = "segment") -> Response:
        """Post an event or a batch (a list) as Segment does: the first event is signed, a batch carries the token."""
        first = event[0] if isinstance(event, list) else event
        headers = {
            "content-type": "application/json",
            "x-signature": sign(SECRET, json.dumps(first, separators=(",", ":")).encode()),
        }
        if isinstance(event, list):
            headers["x-freshgate-token"] = TOKEN
        body = json.dumps(event, separators=(",", ":")).encode()
        return self.request("PORT", "POST", f"/webhooks/{source}", body, headers)

    def outbox(self) -> list[dict[str, Any]]:
        """The mails that the sandbox accepted, newest last."""
        response = self.request("SANDBOX_PORT", "GET", "/messages")
        assert response.status == http.client.OK, response
        messages: list[dict[str, Any]] = response.json
        return messages

    def faults(self, **fault: Any) -> Response:
        """Make the sandbox fail; the keywords are the fields of its POST /faults."""
        body = json.dumps(fault).encode()
        return self.request("SANDBOX_PORT", "POST", "/faults", body, {"content-type": "application/json"})

    def request(
        self, port: str, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request to the port of this name (one of PORTS); a body that is not JSON is returned as text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=20)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        try:
            return Response(response.status, json.loads(text))
        except ValueError:
            return Response(response.status, text.decode(errors="replace"))

    def wait_for(self, predicate: Callable[[], Any], timeout: float = 30.0) -> Any:
        """The predicate's first true result; AssertionError if there is none within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            result = predicate()
            if result:
                return result
            time.sleep(0.05)
        raise AssertionError(f"still false after {timeout} s; the console says:\n{self.console()}")

    def pid(self, name: str) -> int:
        """The process id of receiver, worker, timers, sandbox or redis."""
        file = self.var / "pids" / name
        # Empty for a moment while the launcher writes it.
        return int(self.wait_for(lambda: file.read_text(encoding="ascii"), timeout=5))

    def pids(self) -> dict[str, int]:
        return {file.name: self.pid(file.name) for file in (self.var / "pids").iterdir() if file.name[0] != "."}

    def kill(self, name: str) -> int:
        """Send SIGKILL to a process; returns the pid that it had."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        return pid

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """The process stands still within (SIGSTOP), and goes on after it."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def trail(self, who: str) -> list[dict[str, Any]]:
        """The entries of `python -m adapter why --json`, oldest first."""
        entries: list[dict[str, Any]] = json.loads(self.why(who, "--json"))["trail"]
        return entries

    def why(self, who: str, *options: str) -> str:
        """What `python -m adapter why` prints."""
        command = [sys.executable, "-m", "adapter", "why", who, *options]
        completed = subprocess.run(
            command, cwd=ROOT, env=self.environ, capture_output=True, text=True, check=False, timeout=30
        )
        assert completed.returncode == 0, completed.stderr
        return completed.stdout
