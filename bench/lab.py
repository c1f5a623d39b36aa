"""Everything that a measurement starts: a Valkey, gunicorns, workers, in a temporary folder of their own.

Leaving the context ends all of it, the newest first; should the bench itself be killed, Linux ends it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import redis

from adapter.local import embedded
from adapter.local.processes import die_with
from freshgate.state import store

ROOT = Path(__file__).resolve().parents[1]
SECRET, TOKEN = "bench-secret", "bench-token"
PII_KEY = "bench-pii-key"
STOP_WITHIN_S = 10.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Started:
    """One process that we started, and its children."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, port: int = 0) -> None:
        self.process, self.log, self.port = process, log, port

    def cpu_s(self) -> float:
        """User and system time of it and its children so far, in seconds."""
        return sum(_cpu_s(pid) for pid in [self.process.pid, *_children(self.process.pid)])

    def keep_one_worker(self) -> None:
        """For a gunicorn: every worker but one ends."""
        while len(workers := _children(self.process.pid)) > 1:
            self.process.send_signal(signal.SIGTTOU)
            deadline = time.monotonic() + STOP_WITHIN_S
            while len(_children(self.process.pid)) == len(workers) and time.monotonic() < deadline:
                time.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM; after 10 s, SIGKILL to its whole group."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_WITHIN_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Lab:
    """A context manager: `with Lab() as lab: url = lab.valkey(); lab.python("workers", "deliver")`."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self.folder = Path()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FRESHGATE_")}
        # What a user gets who sets nothing: no settings file is found, since every process runs in the lab's folder.
        self.environ = {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "FRESHGATE_SOURCES__SEGMENT__SECRETS": SECRET,
            "FRESHGATE_SOURCES__SEGMENT__TOKENS": TOKEN,
            "FRESHGATE_PII_KEY": PII_KEY,
            **{f"FRESHGATE_{name}METRICS_PORT": "0" for name in ("", "WORKER_", "TIMERS_")},
        }

    def __enter__(self) -> Lab:
        self.folder = Path(self._held.enter_context(tempfile.TemporaryDirectory(prefix="freshgate-bench-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def valkey(self, name: str = "redis") -> str:
        """The URL of a server with the settings of `make run`; FRESHGATE_REDIS_URL of what starts later."""
        server = embedded.prepare(self.folder / name, log=self.folder / f"{name}.log")
        lock = embedded.lock_data(server)
        try:
            started = self._start(name, server.command, {}, pass_fds=(lock,))
        finally:
            os.close(lock)
        self._held.callback(embedded.forget, server)
        self._held.callback(started.stop)
        self._ready(started, lambda: embedded.answers(server.url))
        self.environ["FRESHGATE_REDIS_URL"] = server.url
        return server.url

    def client(self, url: str) -> Any:
        """A client of ours that the lab closes, with the function library loaded."""
        client: redis.Redis = store.connect(url, timeout_s=30.0)
        self._held.callback(client.close)
        store.load(client)
        return client

    def gunicorn(self, name: str, app: str, environ: Mapping[str, str] | None = None) -> Started:
        """The app behind the gunicorn that we ship: the same class of worker, as many of them, the same threads."""
        port = free_port()
        told = {**(environ or {}), "FRESHGATE_PORT": str(port), "FRESHGATE_VAR": str(self.folder / f"var-{name}")}
        started = self.python(name, "gunicorn", "-c", "python:adapter.gunicorn_conf", app, environ=told)
        started.port = port
        self._ready(started, lambda: listens(port) and len(_children(started.process.pid)) > 1)
        time.sleep(0.5)  # the workers import the app
        return started

    def stub(self, delay_ms: int = 0) -> Started:
        """The ESP of the bench (`stub.py`) on a port of its own."""
        port = free_port()
        started = self.python("stub", "bench.stub", str(port), str(delay_ms))
        started.port = port
        self._ready(started, lambda: listens(port))
        self.environ["FRESHGATE_ESPS__SENDGRID__BASE_URL"] = f"http://127.0.0.1:{port}"
        return started

    def python(self, name: str, module: str, *arguments: str, environ: Mapping[str, str] | None = None) -> Started:
        """`python -m module arguments`; stop it yourself, or the lab does."""
        started = self._start(name, (sys.executable, "-m", module, *arguments), environ or {})
        self._held.callback(started.stop)
        return started

    def _start(
        self, name: str, command: tuple[str, ...], environ: Mapping[str, str], pass_fds: tuple[int, ...] = ()
    ) -> Started:
        bench, log = os.getpid(), self.folder / f"{name}.out"
        with log.open("ab") as out:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                pass_fds=pass_fds,
                preexec_fn=lambda: die_with(bench),  # noqa: PLW1509  # called from the main thread only
            )
        return Started(process, log)

    def _ready(self, started: Started, ready: Callable[[], bool], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not ready():
            if started.process.poll() is not None or time.monotonic() > deadline:
                said = started.log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise RuntimeError(f"{started.log.stem} did not start:\n{said}")
            time.sleep(0.02)


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _children(pid: int) -> list[int]:
    with suppress(FileNotFoundError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        return [int(child) for child in text.split()]
    return []


def _cpu_s(pid: int) -> float:
    with suppress(FileNotFoundError, ProcessLookupError):
        # proc(5): utime and stime are the 14th and 15th field; the second, the name, may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S
    return 0.0
