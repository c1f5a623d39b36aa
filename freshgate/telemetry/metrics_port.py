"""Serves a process' metrics on a port of their own, which is off where it is 0.

`workers/main.py` and `workers/supervisor.py` call it; the receiver's are served by gunicorn's master.
"""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server

from freshgate.telemetry import logs

log = logs.get(__name__)


def serve_metrics(host: str, port: int, registry: CollectorRegistry = REGISTRY) -> None:
    """Starts a thread that answers scrapes. A port that is taken is logged: mails matter more than metrics."""
    if not port:
        return
    try:
        start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        # The port belongs to another worker on this host.
        log.warning("metrics_port_taken", port=port, error=str(error))
