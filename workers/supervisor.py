"""Several workers under one supervisor: some for each account, with the metrics of all of them on one port.

`main.py` starts it where the settings ask for more than one process. A child is `python -m workers deliver --esp NAME`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from freshgate.child_processes import die_with
from freshgate.settings import Settings
from freshgate.telemetry import logs
from freshgate.telemetry.metric_files import FOLDER_VARIABLE, MetricFiles
from freshgate.telemetry.metrics_port import serve_metrics
from freshgate.telemetry.processes import ProcessMetrics

log = logs.get(__name__)
# The pause before a restart doubles, and starts anew once the child has run for STEADY_AFTER_S.
FIRST_BACKOFF_S = 0.2
MAX_BACKOFF_S = 5.0
STEADY_AFTER_S = 30.0
POLL_INTERVAL_S = 0.1


class WorkerProcess:
    """One child. It writes to our own output."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str], files: MetricFiles) -> None:
        self._arguments = tuple(arguments)
        self._environ = environ
        self._files = files
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._restart_at = 0.0
        self._backoff_s = FIRST_BACKOFF_S

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        process = self._process
        return process.pid if process else None

    def start(self) -> None:
        parent = os.getpid()
        self._process = subprocess.Popen(
            (sys.executable, "-m", "workers.supervised", "deliver", *self._arguments),
            env=self._environ,
            stdin=subprocess.DEVNULL,
            # Signals of a terminal reach the supervisor alone, which passes them on.
            process_group=0,
            preexec_fn=lambda: die_with(parent),  # noqa: PLW1509  # called from the main thread only
        )
        self._started_at = time.monotonic()

    def watch(self) -> None:
        """Starts it again once it has ended and its pause is over."""
        now = time.monotonic()
        if self._process is None:
            if now >= self._restart_at:
                self.start()
            return
        code = self._process.poll()
        if code is None:
            return
        self._forget()
        if now - self._started_at > STEADY_AFTER_S or code == 0:
            self._backoff_s = FIRST_BACKOFF_S
        log.warning("worker_restarts", worker=" ".join(self._arguments), code=code, pause_s=self._backoff_s)
        self._restart_at = now + self._backoff_s
        self._backoff_s = min(self._backoff_s * 2, MAX_BACKOFF_S)

    def terminate(self) -> None:
        """Asks it to end after the jobs that it works on."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.terminate()

    def wait(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._forget()

    def _forget(self) -> None:
        # First of all: a scrape must not read the pid, which may be another process' by now.
        process, self._process = self._process, None
        if process is not None:
            self._files.retire(process.pid)


def supervise(settings: Settings, workers: Mapping[str, Sequence[str]]) -> int:
    """Keeps a child alive for each entry of `workers`, its name in the metrics and its arguments, until SIGTERM or
    SIGINT; SIGHUP starts each anew with the changed catalog. Returns 0.
    """
    folder = Path(settings.var).resolve() / "metrics" / f"workers-{os.getpid()}"
    files = MetricFiles(folder)
    files.clear()
    environ = {**os.environ, FOLDER_VARIABLE: str(folder), "FRESHGATE_WORKER_METRICS_PORT": "0"}
    named = {name: WorkerProcess(arguments, environ, files) for name, arguments in workers.items()}
    children = list(named.values())
    registry = files.registry()
    registry.register(ProcessMetrics(lambda: _pids(named)))
    stopped, hung_up = threading.Event(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    signal.signal(signal.SIGHUP, lambda *_: hung_up.set())
    try:
        for child in children:
            child.start()
        serve_metrics(settings.metrics_host, settings.worker_metrics_port, registry)
        log.info("workers_started", workers=[" ".join(arguments) for arguments in workers.values()])
        while not stopped.wait(POLL_INTERVAL_S):
            if hung_up.is_set():
                hung_up.clear()
                for child in children:
                    child.terminate()
            for child in children:
                child.watch()
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _pids(children: Mapping[str, WorkerProcess]) -> Mapping[str, int]:
    """The supervisor and those of its children that run."""
    running = {name: pid for name, child in children.items() if (pid := child.pid) is not None}
    return {"worker": os.getpid(), **running}
