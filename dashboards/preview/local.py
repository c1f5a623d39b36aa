"""Prometheus on this machine in the place of the composed one: its configuration, and the ports.

`observe.py` starts it.
"""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freshgate.errors import FreshgateError, SettingsError
from freshgate.settings import Settings

DASHBOARDS = Path(__file__).resolve().parents[1]
USUAL_PORTS = {"prometheus": 9090, "alertmanager": 9093}
# Scraped by the composed Prometheus, and not started here.
COMPOSED_ONLY = ("grafana", "otel-collector", "tempo")


def here(composed: Any, settings: Settings, ports: Mapping[str, int]) -> dict[str, Any]:
    """The composed Prometheus' configuration, said of this machine: every target on loopback."""
    targets = {
        "freshgate-receiver": settings.metrics_port,
        "freshgate-worker": settings.worker_metrics_port,
        "freshgate-timers": settings.timers_metrics_port,
        **ports,
    }
    jobs = [job["job_name"] for job in composed["scrape_configs"] if job["job_name"] not in COMPOSED_ONLY]

    def at(name: str) -> list[dict[str, list[str]]]:
        return [{"targets": [f"127.0.0.1:{targets[name]}"]}]

    return {
        "global": composed["global"],
        "rule_files": [str(DASHBOARDS / "prometheus" / Path(file).name) for file in composed["rule_files"]],
        "alerting": {"alertmanagers": [{"static_configs": at("alertmanager")}]},
        # A port of 0 switches a process' metrics off.
        "scrape_configs": [{"job_name": job, "static_configs": at(job)} for job in jobs if targets[job]],
    }


def folder_at(path: Path) -> Path:
    """The folder, which is there afterwards, for its owner only."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def port_of(environ: Mapping[str, str], variable: str, usual: int) -> int:
    """The variables are those of docker-compose.yml. Raises SettingsError."""
    told = environ.get(variable, "")
    if told and not (told.isdecimal() and 0 < int(told) < 65_536):
        raise SettingsError(f"{variable}: write a port, from 1 to 65535")
    return int(told or usual)


def check_free(name: str, port: int) -> None:
    """Raises FreshgateError when something listens there."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            advice = f"stop what listens there, or set {name.upper()}_PORT to another port"
            raise FreshgateError(f"port {port} for {name} is taken; {advice}") from None


def is_ok(url: str) -> bool:
    """Whether it answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # our own, on loopback
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
