"""The composed stack on a real Docker engine, in a copy of this repository, under a project name of its own.

`test_compose_live.py` uses it. Images that no registry serves here are left out with their services.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from freshgate.version import VERSION
from tests.deploy import stack
from tests.deploy.stack import ROOT
from tests.harness.ports import free_ports

PORTS = ("RECEIVER_PORT", "GRAFANA_PORT", "PEOPLE_PORT", "SANDBOX_PORT", "PAGER_PORT")
# Without these there is nothing to test; the others watch.
NEEDED = {"redis", *stack.FRESHGATE_SERVICES} - {stack.RUNS_ONCE}
PULL_TIMEOUT_S = 120
# Beside the containers' processes: `docker kill` counts as a stop, after which nothing is started again, and a
# container's own user may not signal its first process.
SIGNAL = """
import os, sys
from contextlib import suppress
for process in sys.argv[2:]:
    with suppress(ProcessLookupError):
        os.kill(int(process), int(sys.argv[1]))
"""


def compose_command() -> list[str]:
    """`docker compose`, or the older program. Skips the test, with the reason, where no engine is."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker engine answers here")
    for command in (["docker", "compose"], ["docker-compose"]):
        program = shutil.which(command[0])
        if program and subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0:
            return command
    pytest.skip("Docker Compose is not installed")


class Composed:
    """Builds the image, starts what can be started, and answers for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.command = folder, compose_command()
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
        for name in (file.decode() for file in files if file):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FRESHGATE_")},
            **{name: str(port) for name, port in self.ports.items()},
            "COMPOSE_PROJECT_NAME": f"freshgate-test-{os.getpid()}",
            # The engine of old releases prints a warning for each build.
            "DOCKER_BUILDKIT": os.environ.get("DOCKER_BUILDKIT", "1"),
        }
        self._use_tags_where_no_registry_has_the_digest()
        subprocess.run([sys.executable, "deploy/prepare.py"], cwd=folder, check=True, capture_output=True)
        self.missing = [name for name, image in self._foreign_images().items() if not has_image(image)]
        if NEEDED & set(self.missing):
            pytest.skip(f"no image for {', '.join(sorted(NEEDED & set(self.missing)))}")
        not_started = {*self.missing, stack.RUNS_ONCE}
        self.services = [name for name in stack.compose()["services"] if name not in not_started]

    def _use_tags_where_no_registry_has_the_digest(self) -> None:
        """Images that somebody built under our tags, on a machine without a registry, have other digests."""
        for name in ("docker-compose.yml", "Dockerfile"):
            file = self.folder / name
            text = file.read_text(encoding="utf-8")
            for tag, digest in set(re.findall(r"([\w./-]+:[\w.-]+)(@sha256:[0-9a-f]{64})", text)):
                if not has_image(tag + digest) and has_image(tag):
                    text = text.replace(tag + digest, tag)
            file.write_text(text, encoding="utf-8")

    def _foreign_images(self) -> dict[str, str]:
        services = yaml.safe_load((self.folder / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
        return {name: at["image"] for name, at in services.items() if name not in stack.FRESHGATE_SERVICES}

    def run(self, *arguments: str, timeout_s: float = 300, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Calls Compose. Fails with its output."""
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=self.folder,
            env=self.environ,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=timeout_s,
        )
        assert done.returncode == 0, (arguments, done.stderr.decode(errors="replace")[-1500:])
        return done

    def up(self, *more: str) -> None:
        without = [name for name in self.missing if name != "prometheus"]
        self.run(
            "up", "-d", *more, "--no-deps", *(name for name in self.services if name not in without), timeout_s=800
        )

    def paste(self, command: str) -> subprocess.CompletedProcess[str]:
        """Runs a line of a runbook or of the manual, as an operator pastes it."""
        line = command.replace("docker compose ", f"{' '.join(self.command)} ")
        return subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    def containers(self, service: str) -> list[str]:
        return self.run("ps", "-q", service).stdout.decode().split()

    def state(self, service: str) -> list[str]:
        """Health of each of its containers, or whether it runs where it has no check."""
        form = "{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}} {{.State.Paused}}"
        inspect = ["docker", "inspect", "-f", form, *self.containers(service)]
        lines = subprocess.run(inspect, capture_output=True, text=True, check=False).stdout.split("\n")
        return [line.removesuffix(" false") for line in lines if line]

    def is_well(self, service: str, count: int = 1) -> bool:
        states = self.state(service)
        return len(states) == count and set(states) <= {"healthy", "running"}

    def signal(self, container: str, number: int) -> None:
        """Sends a signal to each process of a container, as when it crashes or hangs."""
        listed = subprocess.run(["docker", "top", container, "-o", "pid"], capture_output=True, text=True, check=True)
        alone = ["--rm", "--pid=host", "--network=none", "--user=0:0", "--cap-drop=ALL", "--cap-add=KILL"]
        python = ["--entrypoint=python", f"freshgate:{VERSION}", "-IS", "-c", SIGNAL]
        processes = listed.stdout.split()[1:]
        assert processes
        subprocess.run(
            ["docker", "run", *alone, *python, str(int(number)), *processes], capture_output=True, check=True
        )

    def started_at(self, container: str) -> str:
        inspect = ["docker", "inspect", "-f", "{{.State.StartedAt}}", container]
        return subprocess.run(inspect, capture_output=True, text=True, check=True).stdout.strip()

    def ask(self, port: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON, or text, of a published port; 0 where nobody answers."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[port]}{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read()
        except OSError:
            return 0, None
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text.decode(errors="replace")

    def outbox(self, path: str = "/messages") -> list[Any]:
        """The mails that the sandbox has; or what it has at another path."""
        password = (self.folder / "deploy" / "secrets" / "esp_api_key").read_text(encoding="utf-8").strip()
        basic = b64encode(f"any:{password}".encode()).decode()
        status, mails = self.ask("SANDBOX_PORT", path, authorization=f"Basic {basic}")
        return mails if status == 200 else []

    def wait_for(self, predicate: Callable[[], Any], timeout_s: float = 120) -> Any:
        deadline = time.monotonic() + timeout_s
        while not (result := predicate()):
            assert time.monotonic() < deadline, self.run("ps", "-a").stdout.decode()
            time.sleep(0.5)
        return result

    def down(self) -> None:
        # Without the profiles, Compose leaves the containers of their services, and the networks that these use.
        self.run("--profile", "*", "down", "-v", "--remove-orphans", "-t", "20")


def has_image(image: str) -> bool:
    """Whether the engine has it, or a registry serves it."""
    if subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0:
        return True
    try:
        pulled = subprocess.run(
            ["docker", "pull", "-q", image], capture_output=True, check=False, timeout=PULL_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return False
    return pulled.returncode == 0
