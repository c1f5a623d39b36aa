"""Starts what a measurement needs: a Valkey, gunicorns, workers, in a temporary folder of their own.

Leaving the context ends all processes, the newest first; if the bench itself is killed, Linux ends them.
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
from freshgate.child_processes import die_with
from freshgate.state import store

ROOT = Path(__file__).resolve().parents[1]
SECRET, TOKEN = "bench-secret", "bench-token"
PII_KEY = "bench-pii-key"
STOP_TIMEOUT_S = 10.0
# gunicorn's own worker for apps that wait in threads, as they commonly do.
OWN_THREADS = "gthread"
CLOCK_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


class Process:
    """One process that the lab started, and its children."""

    def __init__(self, popen: subprocess.Popen[bytes], log: Path, port: int = 0) -> None:
        self.popen, self.log, self.port = popen, log, port

    def cpu_s(self) -> float:
        """User and system time of the process and its children so far, in seconds."""
        return sum(_cpu_s(pid) for pid in [self.popen.pid, *_children(self.popen.pid)])

    def keep_single_worker(self) -> None:
        """Ends all workers of a gunicorn but one."""
        while len(workers := _children(self.popen.pid)) > 1:
            self.popen.send_signal(signal.SIGTTOU)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while len(_children(self.popen.pid)) == len(workers) and time.monotonic() < deadline:
                time.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM; after 10 s, SIGKILL to its whole group."""
        self.popen.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(STOP_TIMEOUT_S)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


class Lab:
    """A context manager: `with Lab() as lab: url = lab.valkey(); lab.python("workers", "deliver")`."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.folder = Path()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FRESHGATE_")}
        # The defaults: no settings file is found, since every process runs in the lab's folder.
        self.environ = {
            **inherited,
            "PYTHONPATH": str(ROOT),
            "FRESHGATE_SOURCES__SEGMENT__SECRETS": SECRET,
            "FRESHGATE_SOURCES__SEGMENT__TOKENS": TOKEN,
            "FRESHGATE_PII_KEY": PII_KEY,
            **{f"FRESHGATE_{name}METRICS_PORT": "0" for name in ("", "WORKER_", "TIMERS_")},
        }

    def __enter__(self) -> Lab:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="freshgate-bench-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def valkey(self, name: str = "redis") -> str:
        """Starts a server with the settings of `make run`; its URL is FRESHGATE_REDIS_URL for later processes."""
        server = embedded.prepare(self.folder / name, log=self.folder / f"{name}.log")
        lock = embedded.lock_data(server)
        try:
            process = self._start(name, server.command, {}, pass_fds=(lock,))
        finally:
            os.close(lock)
        self._stack.callback(embedded.forget, server)
        self._stack.callback(process.stop)
        self._wait_until_ready(process, lambda: embedded.answers(server.url))
        self.environ["FRESHGATE_REDIS_URL"] = server.url
        return server.url

    def client(self, url: str) -> Any:
        """A client with the function library loaded; the lab closes it."""
        client: redis.Redis = store.connect(url, timeout_s=30.0)
        self._stack.callback(client.close)
        store.load(client)
        return client

    def gunicorn(
        self, name: str, app: str, environ: Mapping[str, str] | None = None, *, worker_class: str = ""
    ) -> Process:
        """The app behind gunicorn with Freshgate's own configuration: as many workers and threads.

        worker_class  another one than Freshgate's own
        """
        port = free_port()
        extra = {**(environ or {}), "FRESHGATE_PORT": str(port), "FRESHGATE_VAR": str(self.folder / f"var-{name}")}
        arguments = ["-c", "python:adapter.gunicorn_conf", *(["-k", worker_class] if worker_class else []), app]
        process = self.python(name, "gunicorn", *arguments, environ=extra)
        process.port = port
        self._wait_until_ready(process, lambda: listens(port) and len(_children(process.popen.pid)) > 1)
        time.sleep(0.5)  # the workers import the app
        return process

    def stub(self) -> Process:
        """The ESP of the bench (`stub.py`) on a port of its own, to which workers that start later send."""
        port = free_port()
        process = self.python("stub", "bench.stub", str(port))
        process.port = port
        self._wait_until_ready(process, lambda: listens(port))
        self.environ["FRESHGATE_ESPS__SENDGRID__BASE_URL"] = f"http://127.0.0.1:{port}"
        return process

    def memcached(self, program: str) -> Process:
        """Starts this Memcached on a port of its own."""
        port = free_port()
        # Root must name a user to run as; for others `-u` changes nothing.
        process = self._start("memcached", (program, "-u", "nobody", "-l", "127.0.0.1", "-p", str(port)), {})
        process.port = port
        self._stack.callback(process.stop)
        self._wait_until_ready(process, lambda: listens(port))
        return process

    def python(self, name: str, module: str, *arguments: str, environ: Mapping[str, str] | None = None) -> Process:
        """Starts `python -m module arguments`; the lab stops it if the caller does not."""
        process = self._start(name, (sys.executable, "-m", module, *arguments), environ or {})
        self._stack.callback(process.stop)
        return process

    def _start(
        self, name: str, command: tuple[str, ...], environ: Mapping[str, str], pass_fds: tuple[int, ...] = ()
    ) -> Process:
        bench_pid, log = os.getpid(), self.folder / f"{name}.out"
        with log.open("ab") as out:
            popen = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                pass_fds=pass_fds,
                preexec_fn=lambda: die_with(bench_pid),  # noqa: PLW1509  # called from the main thread only
            )
        return Process(popen, log)

    def _wait_until_ready(self, process: Process, ready: Callable[[], bool], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not ready():
            if process.popen.poll() is not None or time.monotonic() > deadline:
                output = process.log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise RuntimeError(f"{process.log.stem} did not start:\n{output}")
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
        return (int(fields[11]) + int(fields[12])) * CLOCK_TICK_S
    return 0.0
