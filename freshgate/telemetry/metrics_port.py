"""Serves a process' metrics on a port of their own, which is off where it is 0.

`workers/main.py`, `workers/supervisor.py` and gunicorn's master call it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server

from freshgate.settings_parsing import split_hosts
from freshgate.telemetry import logs

log = logs.get(__name__)


def serve_metrics(hosts: str, port: int, registry: CollectorRegistry = REGISTRY) -> None:
    """Starts a thread that answers scrapes, for each of the hosts. What cannot be served is logged: mails matter more
    than metrics.

    hosts  addresses or names, with commas. A name that several machines share means this one's address among them: a
           container is scraped on one of its networks, and not on those that it shares with strangers.
    """
    if not port:
        return
    for host in split_hosts(hosts):
        if not any(_serve(address, port, registry) for address in _addresses(host, port)):
            log.warning("metrics_not_served", host=host, port=port, hint="is the port taken, the host of this machine?")


def _addresses(host: str, port: int) -> Iterator[str]:
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return
    yield from dict.fromkeys(str(address[0]) for *_, address in infos)


def _serve(address: str, port: int, registry: CollectorRegistry) -> bool:
    try:
        start_http_server(port, addr=address, registry=registry)
    except OSError:
        # Another machine's address of that name; or the port belongs to another worker on this host.
        return False
    return True
