"""The configurations and ports of Prometheus and Alertmanager on this machine, in place of docker-compose.yml's.

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
DEFAULT_PORTS = {"prometheus": 9090, "alertmanager": 9093, "pager": 8026}
# Jobs of the composed Prometheus that `make observe` does not start.
COMPOSED_ONLY = ("grafana", "otel-collector", "tempo", "loki", "alloy")
# Of docker-compose.yml: where Grafana would be.
GRAFANA_URL = "http://127.0.0.1:3000"


def to_local_config(composed: Any, settings: Settings, ports: Mapping[str, int]) -> dict[str, Any]:
    """The composed Prometheus' configuration with every target on loopback."""
    targets = {
        "freshgate-receiver": settings.metrics_port,
        "freshgate-worker": settings.worker_metrics_port,
        "freshgate-timers": settings.timers_metrics_port,
        "freshgate-people": settings.people_metrics_port if settings.people_port and settings.api_tokens else 0,
        **ports,
    }
    jobs = [job["job_name"] for job in composed["scrape_configs"] if job["job_name"] not in COMPOSED_ONLY]

    def at(name: str) -> list[dict[str, list[str]]]:
        return [{"targets": [f"127.0.0.1:{targets[name]}"]}]

    return {
        "global": {
            **composed["global"],
            "external_labels": {"runbooks": f"http://127.0.0.1:{ports['pager']}/runbooks", "grafana": GRAFANA_URL},
        },
        "rule_files": [str(DASHBOARDS / "prometheus" / Path(file).name) for file in composed["rule_files"]],
        "alerting": {**composed["alerting"], "alertmanagers": [{"static_configs": at("alertmanager")}]},
        # A port of 0 switches a process' metrics off.
        "scrape_configs": [{"job_name": job, "static_configs": at(job)} for job in jobs if targets[job]],
    }


def to_local_routes(composed: str, ports: Mapping[str, int]) -> str:
    """The committed configuration of Alertmanager with the demo's pager on loopback."""
    return composed.replace("http://pager:8026/", f"http://127.0.0.1:{ports['pager']}/")


def make_folder(path: Path) -> Path:
    """Creates the folder, for its owner only, unless it exists."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def read_port(environ: Mapping[str, str], variable: str, default: int) -> int:
    """The port from a variable of docker-compose.yml. Raises SettingsError."""
    value = environ.get(variable, "")
    if value and not (value.isdecimal() and 0 < int(value) < 65_536):
        raise SettingsError(f"{variable}: write a port from 1 to 65535")
    return int(value or default)


def check_free(name: str, port: int) -> None:
    """Raises FreshgateError when something listens there."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            advice = f"stop the program that listens on it, or set {name.upper()}_PORT to another port"
            raise FreshgateError(f"port {port} for {name} is taken; {advice}") from None


def is_ok(url: str) -> bool:
    """Whether the URL answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310  # our own, on loopback
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
