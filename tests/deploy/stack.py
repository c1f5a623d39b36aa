"""docker-compose.yml and what stands around it, read as data, and what can be wrong with it.

The checks are pure and give the faults that they found; tests hold them against the real files and against broken ones.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
# One binary and no shell: nothing could run a check in there. Prometheus scrapes both.
WITHOUT_SHELL = ("otel-collector", "tempo")
METRICS_PORTS = {"9108", "9109", "9110"}
OURS = ("receiver", "worker", "timers", "sandbox", "traffic")
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?")
INTERPOLATED = re.compile(r"\$\{(\w+)(?::?-([^}]*))?\}")
# A scheme, or the quotes or brackets around a scrape target; then a name that is not an address; then a port.
CALLED = re.compile(r"(?:https?://|[\"'\[\s])([a-z][a-z0-9-]*):(\d{2,5})\b")


def compose() -> dict[str, Any]:
    told: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return told


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
    """What a service of ours is started with: the image's, then .env, then its own, which win in that order."""
    image = image_environment((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    own = {name: str(value) for name, value in service.get("environment", {}).items()}
    return {**image, **{name: value for name, value in env.items() if name.startswith("FRESHGATE_")}, **own}


# ---- what can be wrong


def unpinned(told: Mapping[str, Any], dockerfile: str) -> list[str]:
    """Images that could be another one tomorrow. Our own is built here, and must not be pulled at all."""
    found = [name for name, one in told["services"].items() if not PINNED.fullmatch(one["image"])]
    found += [
        name
        for name, one in told["services"].items()
        if "build" in one and one.get("pull_policy") not in ("build", "never")
    ]
    bases = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    return found + [base for base in bases if not PINNED.fullmatch(base)]


def unguarded(told: Mapping[str, Any]) -> list[str]:
    """Services that may do more than they need, as "service: what is missing"."""
    return [f"{name}: {lack}" for name, one in told["services"].items() for lack in _lacks(name, one)]


def _lacks(name: str, one: Mapping[str, Any]) -> Iterator[str]:
    if one.get("read_only") is not True:
        yield "read_only"
    if one.get("cap_drop") != ["ALL"]:
        yield "cap_drop"
    if "no-new-privileges:true" not in one.get("security_opt", []):
        yield "no-new-privileges"
    if str(one.get("user", "0")).partition(":")[0] in ("0", "root", ""):
        yield "user"
    limits = one.get("deploy", {}).get("resources", {}).get("limits", {})
    if not {"cpus", "memory", "pids"} <= set(limits):
        yield "limits"
    if one.get("restart") != "unless-stopped":
        yield "restart"
    if "healthcheck" not in one and name not in WITHOUT_SHELL:
        yield "healthcheck"
    if one.get("privileged") or one.get("network_mode") == "host" or "/var/run/docker.sock" in str(one):
        yield "isolation"


def exposed(told: Mapping[str, Any]) -> list[str]:
    """Ports that are open to others than this machine by default, and metrics that are published at all."""
    found = []
    for name, one in told["services"].items():
        for port in one.get("ports", []):
            host, _, inner = INTERPOLATED.sub(lambda match: match[2] or "", port).partition(":")
            if host != "127.0.0.1" or inner.rpartition(":")[2] in METRICS_PORTS:
                found.append(f"{name}: {port}")
    return found


def missing_paths(told: Mapping[str, Any], root: Path, made: Iterable[str]) -> list[str]:
    """What is mounted and does not exist. `made`: the names of the secrets that deploy/prepare.py makes."""
    found = []
    for one in told["services"].values():
        sources = [volume.split(":")[0] for volume in one.get("volumes", [])]
        found += [source for source in sources if source.startswith(".") and not (root / source).exists()]
        found += [source for source in sources if not source.startswith(".") and source not in told["volumes"]]
        found += [secret for secret in one.get("secrets", []) if secret not in told["secrets"]]
        found += [network for network in one.get("networks", []) if network not in told["networks"]]
        found += [other for other in one.get("depends_on", {}) if other not in told["services"]]
    files = {f"./deploy/secrets/{name}" for name in made}
    return found + [one["file"] for one in told["secrets"].values() if one["file"] not in files]


def unmounted_secrets(told: Mapping[str, Any]) -> list[str]:
    """Files below /run/secrets that a service reads and was not given."""
    found = []
    for name, one in told["services"].items():
        read = set(re.findall(r"/run/secrets/(\w+)", f"{one.get('environment', {})} {one.get('healthcheck', {})}"))
        found += [f"{name}: {secret}" for secret in sorted(read - set(one.get("secrets", [])))]
    return found


def unreachable(told: Mapping[str, Any], caller: str, text: str) -> list[str]:
    """The hosts in the caller's configuration that are no service, or on no network of the caller's."""
    services = told["services"]
    found = []
    for host in sorted({match[1] for match in CALLED.finditer(text)} - {"localhost", caller}):
        if host not in services or not set(services[host]["networks"]) & set(services[caller]["networks"]):
            found.append(host)
    return found
