"""Reads docker-compose.yml and the files around it as data, and checks them.

The checks are pure and return faults; tests run them on the real files and on broken ones.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy import prepare

ROOT = Path(__file__).resolve().parents[2]
# These images hold one binary and no shell or client, so no health check can run in them. Prometheus scrapes them.
WITHOUT_SHELL = ("otel-collector", "tempo", "loki", "alloy")
# The files of Docker's logs are root's. It has no capability and no way out.
READS_LOGS = "alloy"
METRICS_PORTS = {"9108", "9109", "9110", "9111"}
FRESHGATE_SERVICES = ("receiver", "worker", "timers", "people", "sandbox", "traffic", "pager", "backup", "restore")
# Ends when its work is done.
RUNS_ONCE = "restore"
VERSIONED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?")
INTERPOLATED = re.compile(r"\$\{(\w+)(?::?-([^}]*))?\}")
# A scheme, or the quotes or brackets around a scrape target; then a host name; then a port.
CALLED = re.compile(r"(?:https?://|[\"'\[\s])([a-z][a-z0-9-]*):(\d{2,5})\b")


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return document


def committed(path: str) -> str:
    """What is committed for a path that Compose mounts: deploy/prepare.py makes copies of some."""
    copies = {copy: source for source, copy in prepare.COPIES.items()}
    for copy, source in copies.items():
        if path.removeprefix("./") in (copy, str(Path(copy).parent)) and str(Path(copy).parent) != "deploy/local":
            return source if path.endswith(Path(copy).name) else str(Path(source).parent)
    return copies.get(path.removeprefix("./"), path)


def active(env: str) -> dict[str, str]:
    """The variables of a .env file that are not commented out."""
    lines = [line for line in env.splitlines() if re.match(r"[A-Z]", line)]
    return dict(line.split("=", 1) for line in lines)


def named(env: str) -> set[str]:
    """The variables of a .env file, those in comments included."""
    return set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", env, re.MULTILINE))


def image_environment(dockerfile: str) -> dict[str, str]:
    """The FRESHGATE_ variables that the image's last stage sets."""
    last = dockerfile.rsplit("\nFROM ", maxsplit=1)[-1].replace("\\\n", " ")
    words = [word for line in last.splitlines() if line.startswith("ENV ") for word in shlex.split(line[4:])]
    return {name: value for name, _, value in (word.partition("=") for word in words) if name.startswith("FRESHGATE_")}


def environment(service: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, str]:
    """The environment of one of our services: the image's, overridden by .env, overridden by its own."""
    image = image_environment((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    own = {name: str(value) for name, value in service.get("environment", {}).items()}
    return {**image, **{name: value for name, value in env.items() if name.startswith("FRESHGATE_")}, **own}


# ---- what can be wrong


def unpinned(document: Mapping[str, Any], dockerfile: str) -> list[str]:
    """Images without an exact version and a digest. Our own is built locally and must never be pulled."""
    faults = [
        name
        for name, service in document["services"].items()
        if not _is_pinned(service["image"], is_built=name in FRESHGATE_SERVICES)
    ]
    faults += [
        name
        for name, service in document["services"].items()
        if name in FRESHGATE_SERVICES and service.get("pull_policy") not in ("build", "never")
    ]
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    return faults + [base for base in bases if not _is_pinned(base)]


def _is_pinned(image: str, *, is_built: bool = False) -> bool:
    match = VERSIONED.fullmatch(image)
    return match is not None and (match[1] is not None or is_built)


def unguarded(document: Mapping[str, Any]) -> list[str]:
    """Services that may do more than they need, as "service: the missing guard"."""
    return [f"{name}: {lack}" for name, service in document["services"].items() for lack in _lacks(name, service)]


def _lacks(name: str, service: Mapping[str, Any]) -> Iterator[str]:
    if service.get("read_only") is not True:
        yield "read_only"
    if service.get("cap_drop") != ["ALL"]:
        yield "cap_drop"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "no-new-privileges"
    if str(service.get("user", "0")).partition(":")[0] in ("0", "root", "") and name != READS_LOGS:
        yield "user"
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    if not {"cpus", "memory", "pids"} <= set(limits):
        yield "limits"
    if service.get("restart") != ("no" if name == RUNS_ONCE else "unless-stopped"):
        yield "restart"
    if "healthcheck" not in service and name not in WITHOUT_SHELL:
        yield "healthcheck"
    if service.get("privileged") or service.get("network_mode") == "host" or "/var/run/docker.sock" in str(service):
        yield "isolation"


def exposed(document: Mapping[str, Any]) -> list[str]:
    """Ports that are open beyond this machine by default, and any metrics port that is published."""
    faults = []
    for name, service in document["services"].items():
        for port in service.get("ports", []):
            host, _, inner = INTERPOLATED.sub(lambda match: match[2] or "", port).partition(":")
            if host != "127.0.0.1" or inner.rpartition(":")[2] in METRICS_PORTS:
                faults.append(f"{name}: {port}")
    return faults


def scraped_elsewhere(document: Mapping[str, Any]) -> list[str]:
    """Processes of ours whose metrics can be asked for on another network than `metrics`."""
    faults = []
    for name, service in document["services"].items():
        networks = service.get("networks", [])
        aliases = {
            network: (options or {}).get("aliases", [])
            for network, options in (networks.items() if isinstance(networks, dict) else ())
        }
        hosts = str(service.get("environment", {}).get("FRESHGATE_METRICS_HOST", "127.0.0.1")).split(",")
        named = {network for network, names in aliases.items() if set(names) & set(hosts)}
        if (
            set(hosts) - {"127.0.0.1", "scraped"}
            or named - {"metrics"}
            or ("metrics" in networks and len(hosts) > 1 and not named)
        ):
            faults.append(name)
    return faults


def missing_paths(document: Mapping[str, Any], root: Path, secret_names: Iterable[str]) -> list[str]:
    """Mounts, networks and services that do not exist. secret_names: the secrets that deploy/prepare.py creates."""
    missing = []
    for service in document["services"].values():
        volumes = [INTERPOLATED.sub(lambda match: match[2] or "", volume) for volume in service.get("volumes", [])]
        sources = [volume.split(":")[0] for volume in volumes]
        missing += [source for source in sources if source.startswith(".") and not (root / committed(source)).exists()]
        named = [source for source in sources if not source.startswith((".", "$", "/"))]
        missing += [source for source in named if source not in document["volumes"]]
        missing += [secret for secret in service.get("secrets", []) if secret not in document["secrets"]]
        missing += [network for network in service.get("networks", []) if network not in document["networks"]]
        missing += [other for other in service.get("depends_on", {}) if other not in document["services"]]
    files = {f"./deploy/secrets/{name}" for name in secret_names}
    return missing + [service["file"] for service in document["secrets"].values() if service["file"] not in files]


def unmounted_secrets(document: Mapping[str, Any]) -> list[str]:
    """Files below /run/secrets that a service reads but does not mount."""
    missing = []
    for name, service in document["services"].items():
        read = set(
            re.findall(r"/run/secrets/(\w+)", f"{service.get('environment', {})} {service.get('healthcheck', {})}")
        )
        missing += [f"{name}: {secret}" for secret in sorted(read - set(service.get("secrets", [])))]
    return missing


def unreachable(document: Mapping[str, Any], caller: str, text: str) -> list[str]:
    """The hosts in the caller's configuration that are not a service, or share no network with the caller."""
    services = document["services"]
    hosts = []
    for host in sorted({match[1] for match in CALLED.finditer(text)} - {"localhost", caller}):
        if host not in services or not set(services[host]["networks"]) & set(services[caller]["networks"]):
            hosts.append(host)
    return hosts
