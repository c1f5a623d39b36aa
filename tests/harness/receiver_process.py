"""A receiver of its own behind the real gunicorn, for tests of what arrives over a socket."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from adapter.sources.segment.signature import sign
from tests.harness.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
SECRET, TOKEN = "receiver-test-secret", "receiver-test-token"
COMMAND = [sys.executable, "-m", "gunicorn", "-c", "python:adapter.gunicorn_conf", "adapter.app:from_environment()"]
HEAD = b"POST /webhooks/segment HTTP/1.1\r\nHost: x\r\n"


class Receiver:
    """A context manager: `with Receiver(redis_url) as receiver: receiver.order("o-1")`."""

    def __init__(self, redis_url: str, environ: Mapping[str, str] | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="freshgate-receiver-")
        self.var = Path(self._folder.name)
        self.port, self.metrics_port = free_ports(2)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FRESHGATE_")}
        self.environ = {
            **inherited,
            "FRESHGATE_CONFIG": str(self.var / "freshgate.toml"),
            "FRESHGATE_REDIS_URL": redis_url,
            "FRESHGATE_PII_KEY": "for tests",
            "FRESHGATE_VAR": str(self.var),
            "FRESHGATE_PORT": str(self.port),
            "FRESHGATE_METRICS_PORT": str(self.metrics_port),
            "FRESHGATE_SOURCES__SEGMENT__SECRETS": SECRET,
            "FRESHGATE_SOURCES__SEGMENT__TOKENS": TOKEN,
            **(environ or {}),
        }
        self._sent = 0

    def __enter__(self) -> Receiver:
        (self.var / "freshgate.toml").touch()
        with (self.var / "log").open("wb") as log:
            self.process = subprocess.Popen(COMMAND, cwd=ROOT, env=self.environ, stdout=log, stderr=log)
        try:
            self.wait_for(lambda: self.get("/readyz")[0] == http.client.OK)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._folder.cleanup()

    def log(self) -> str:
        return (self.var / "log").read_text(encoding="utf-8", errors="replace")

    def workers(self) -> list[int]:
        """The process ids of gunicorn's workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return [int(pid) for pid in children.split()]

    def get(self, path: str, port: int | None = None, timeout_s: float = 10.0) -> tuple[int, str]:
        """Status and text; status 0 when nobody answers in time."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=timeout_s)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            connection.close()

    def metrics(self) -> str:
        return self.get("/metrics", self.metrics_port, timeout_s=30)[1]

    def order(self, port: int | None = None, timeout_s: float = 10.0) -> tuple[int, float]:
        """Posts an order that Segment signed: status, and seconds until it was answered. Status 0 is no answer."""
        self._sent += 1
        body = order_body(f"o-{os.getpid()}-{time.monotonic_ns()}-{self._sent}")
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=timeout_s)
        started = time.monotonic()
        try:
            headers = {"Content-Type": "application/json", "X-Signature": sign(SECRET, body)}
            connection.request("POST", "/webhooks/segment", body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException):
            status = 0
        finally:
            connection.close()
        return status, time.monotonic() - started

    def connect(self, first: bytes = b"") -> socket.socket:
        """A connection on which these bytes were sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(first)
        return connection

    def raw(self, sent: bytes) -> bytes:
        """What is answered to these bytes until the connection ends."""
        with self.connect(sent) as connection:
            return read_all(connection)

    def wait_for(self, predicate: Callable[[], Any], timeout_s: float = 60.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            result = predicate()
            if result:
                return result
            time.sleep(0.05)
        raise AssertionError(f"still false after {timeout_s} s; the log says:\n{self.log()[-3000:]}")


def order_body(order: str) -> bytes:
    event = {
        "type": "track",
        "event": "Order Completed",
        "messageId": f"m-{order}",
        "userId": f"u-{order}",
        "context": {"traits": {"email": f"{order}@example.com"}},
        "properties": {"order_id": order, "total": 1},
    }
    return json.dumps(event, separators=(",", ":")).encode()


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    received = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            received += piece
    return received
