"""How gunicorn runs the receiver: `gunicorn -c python:adapter.gunicorn_conf 'adapter.app:from_environment()'`.

Reads the same settings as everyone; the metrics of all its workers are served together on a port of their own.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

from gunicorn.glogging import Logger

from adapter import catalog_copy
from freshgate import catalogs, settings
from freshgate.errors import CatalogError
from freshgate.telemetry import logs

SETTINGS = settings.load(os.environ)
METRICS = Path(SETTINGS.var).resolve() / "metrics" / "receiver"
# Before anything imports prometheus_client, which reads it at import.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(METRICS)


# What gunicorn quotes of a request: lines that it could not parse, headers, and of a URL the query.
QUOTED = re.compile(r"['\"?].*", re.DOTALL)


def _unquoted(record: logging.LogRecord) -> bool:
    """A filter that changes: a request that gunicorn complains of may hold addresses and secrets."""
    text = record.getMessage()
    if text.startswith(("Invalid request from", "Error handling request")):
        record.msg, record.args = QUOTED.sub("…", text), ()
    return True


class StructuredLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's own lines, in the form of all others."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        logs.configure(SETTINGS.log_level, json=True)
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        self.error_log.addFilter(_unquoted)


bind = f"[{SETTINGS.host}]:{SETTINGS.port}" if ":" in SETTINGS.host else f"{SETTINGS.host}:{SETTINGS.port}"
workers = SETTINGS.receiver_workers
worker_class = "gthread"
threads = SETTINGS.receiver_threads
timeout = 30
graceful_timeout = 10
keepalive = 5
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
accesslog = None
# Its default is one socket a user: two receivers would share it.
control_socket_disable = True
logger_class = StructuredLogger
# The heartbeat files of the workers must not wait for a disk.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # a fixed place of Linux
proc_name = "freshgate-receiver"


def on_starting(server: Any) -> None:
    """The figures of processes that are gone would be counted for ever."""
    shutil.rmtree(METRICS, ignore_errors=True)
    METRICS.mkdir(parents=True)
    refresh_catalog()
    folder = catalog_copy.folder_of(SETTINGS)
    if folder.exists():
        os.environ[catalogs.COPY] = str(folder)
    # Without any copy the workers load the catalog from where it stands, and say what is wrong with it.
    replace_workers = server.handle_hup

    def hang_up() -> None:
        if refresh_catalog():
            replace_workers()

    # No hook of gunicorn's can call a reload off, and new workers that cannot boot would end the master.
    server.handle_hup = hang_up


def refresh_catalog() -> bool:
    """Whether new workers could start. A refused catalog, or settings, ends nobody: the old workers serve on."""
    log = logs.get("adapter.gunicorn_conf")
    try:
        changed = catalog_copy.refresh(SETTINGS, os.environ)
    except (CatalogError, OSError) as error:
        log.error("catalog_refused", reason=str(error))
        return False
    log.info("catalog_taken_up" if changed else "catalog_unchanged")
    return True


def when_ready(_server: Any) -> None:
    from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics

    if SETTINGS.metrics_port:
        GunicornPrometheusMetrics.start_http_server_when_ready(SETTINGS.metrics_port, host=SETTINGS.metrics_host)


def child_exit(_server: Any, worker: Any) -> None:
    from prometheus_flask_exporter.multiprocess import GunicornPrometheusMetrics

    GunicornPrometheusMetrics.mark_process_dead_on_child_exit(worker.pid)
