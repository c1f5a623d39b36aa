"""gunicorn's configuration: `gunicorn -c python:adapter.gunicorn_conf 'adapter.app:from_environment()'`.

It reads Freshgate's settings; the metrics of all workers are served together on a port of their own. The People API as
a process of its own has the same one: `adapter/commands/people.py` starts it.
"""

from __future__ import annotations

import logging
import os
import re
import time
from pathlib import Path
from typing import Any

from gunicorn.glogging import Logger

from adapter import catalog_copy
from adapter.people import process
from freshgate import catalogs, settings_file
from freshgate.errors import CatalogError
from freshgate.telemetry import logs

SETTINGS = settings_file.load(os.environ)
IS_PEOPLE = os.environ.get(process.VARIABLE) == process.NAME
METRICS = Path(SETTINGS.var).resolve() / "metrics" / (process.NAME if IS_PEOPLE else "receiver")
# Set before anything imports prometheus_client, which reads it at import.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(METRICS)


from freshgate.telemetry.metric_files import MetricFiles, prepare_process
from freshgate.telemetry.metrics_port import serve_metrics
from freshgate.telemetry.processes import ProcessMetrics, Slots

METRIC_FILES = MetricFiles(METRICS)


# gunicorn's messages about a request quote it: lines that it could not parse, headers, the URL.
QUOTED = re.compile(r"['\"?/].*", re.DOTALL)
ABOUT_REQUESTS = ("Invalid request from", "Error handling request", "Socket error processing request")
LOG_INTERVAL_S = 10.0


class WithoutQuotes(logging.Filter):
    """Keeps what gunicorn says about requests, at most every few seconds, and nothing of the requests themselves."""

    def __init__(self) -> None:
        super().__init__()
        self._next_at = dict.fromkeys(ABOUT_REQUESTS, 0.0)

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        kind = next((kind for kind in ABOUT_REQUESTS if text.startswith(kind)), None)
        if kind is None:
            return True
        now = time.monotonic()
        is_due = now >= self._next_at[kind]
        if is_due:
            # Strangers must not write the log.
            self._next_at[kind] = now + LOG_INTERVAL_S
            record.msg, record.args = QUOTED.sub("…", text), ()
        return is_due


class StructuredLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """Writes gunicorn's own log lines in the form of all others."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        logs.configure(SETTINGS.log_level, json=True)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.error_log.addFilter(WithoutQuotes())


PORT = SETTINGS.people_port if IS_PEOPLE else SETTINGS.port
bind = f"[{SETTINGS.host}]:{PORT}" if ":" in SETTINGS.host else f"{SETTINGS.host}:{PORT}"
workers = SETTINGS.people_workers if IS_PEOPLE else SETTINGS.receiver_workers
worker_class = "adapter.server.worker.WholeRequestWorker"
# Connections of each process; waiting ones cost a buffer and no thread. Below the 1,024 open files of many systems.
worker_connections = 800
backlog = 2048
threads = SETTINGS.receiver_threads
timeout = 30
graceful_timeout = 10
keepalive = 5
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
# No header may set what a proxy's path filter has decided on: SCRIPT_NAME and PATH_INFO, for callers on loopback.
forwarder_headers = ""
header_map = "drop"
secure_scheme_headers: dict[str, str] = {}
accesslog = None
# By default there is one socket a user, which two receivers would share.
control_socket_disable = True
logger_class = StructuredLogger
# The workers' heartbeat files must not wait for a disk.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # nosec B108  # a fixed place of Linux
proc_name = "freshgate-people" if IS_PEOPLE else "freshgate-receiver"


def on_starting(server: Any) -> None:
    """Hook of gunicorn's master: clears old metrics, makes the catalog's copy, and guards its reload."""
    # The counts of an earlier run would be added for ever.
    METRIC_FILES.clear()
    if IS_PEOPLE:
        # It reads no catalog.
        return
    refresh_catalog()
    folder = catalog_copy.current_folder(SETTINGS)
    if folder.exists():
        os.environ[catalogs.COPY] = str(folder)
    # Without a copy the workers load the catalog from the Python path, and say what is wrong with it.
    replace_workers = server.handle_hup

    def hang_up() -> None:
        if refresh_catalog():
            replace_workers()

    # No hook of gunicorn can cancel a reload, and new workers that cannot boot would end the master.
    server.handle_hup = hang_up


def refresh_catalog() -> bool:
    """Whether new workers could start. If the catalog or the settings are refused, the old workers go on."""
    log = logs.get("adapter.gunicorn_conf")
    try:
        changed = catalog_copy.refresh(SETTINGS, os.environ)
    except (CatalogError, OSError) as error:
        log.error("catalog_refused", reason=str(error))
        return False
    log.info("catalog_taken_up" if changed else "catalog_unchanged")
    return True


def when_ready(server: Any) -> None:
    port = SETTINGS.people_metrics_port if IS_PEOPLE else SETTINGS.metrics_port
    role, slots = process.NAME if IS_PEOPLE else "receiver", Slots()

    def processes() -> dict[str, int]:
        # A thread asks, while the master may start and end workers: one look at them.
        workers = sorted(list(server.WORKERS.items()), key=lambda item: item[1].age)
        numbered = slots.assign([pid for pid, _ in workers], server.num_workers)
        return {role: os.getpid(), **{f"{role}-{number}": pid for number, pid in numbered.items()}}

    registry = METRIC_FILES.registry()
    registry.register(ProcessMetrics(processes))
    serve_metrics(SETTINGS.metrics_host, port, registry)


def post_fork(_server: Any, _worker: Any) -> None:
    prepare_process(METRICS)


def child_exit(_server: Any, worker: Any) -> None:
    METRIC_FILES.retire(worker.pid)
