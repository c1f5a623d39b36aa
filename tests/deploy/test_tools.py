"""The real Compose and hadolint check our files. `make test-tools` installs both, which are large, and runs this.

Nothing here needs a Docker engine: the image is neither built nor started.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import stack
from tests.deploy.stack import ROOT

pytestmark = pytest.mark.tools
BIN = Path(sys.executable).parent


def config(file: Path, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """`docker compose config`, with these variables only, and without the .env of whoever runs the test."""
    command = [str(BIN / "docker-compose"), "--file", str(file), "--project-directory", str(ROOT)]
    command += ["--env-file", "/dev/null", "--profile", "*", "config", *options]
    path = {"PATH": os.environ["PATH"], "HOME": str(file.parent)}
    return subprocess.run(command, env={**path, **environ}, capture_output=True, text=True, check=False, timeout=60)


def interpolated(value: object) -> str:
    """With the defaults of its variables."""
    return stack.INTERPOLATED.sub(lambda match: match[2] or "", str(value))


def broken(folder: Path, change: dict[str, Any]) -> Path:
    """A copy of docker-compose.yml with a changed worker."""
    document = stack.compose()
    document["services"]["worker"].update(change)
    file = folder / "docker-compose.yml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


def test_compose_accepts_the_file_without_a_warning() -> None:
    done = config(ROOT / "docker-compose.yml", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_compose_understands_it_as_our_checks_do() -> None:
    done = config(ROOT / "docker-compose.yml", "--format", "json", RECEIVER_PORT="9999", PUBLISH_ADDRESS="192.0.2.1")
    services = json.loads(done.stdout)["services"]
    expected = stack.compose()["services"]
    assert set(services) == set(expected)
    for name, service in expected.items():
        assert services[name]["image"] == service["image"]
        assert services[name]["read_only"] is True
        command = service.get("command")
        if isinstance(command, list):
            command = [interpolated(word) for word in command]
        assert services[name]["command"] == command
        # env_file adds the FRESHGATE_ variables of a .env file if there is one, so this compares a subset.
        assert {key: interpolated(value) for key, value in service.get("environment", {}).items()}.items() <= (
            services[name].get("environment") or {}
        ).items()
    (port,) = services["receiver"]["ports"]
    assert (port["host_ip"], port["published"], port["target"]) == ("192.0.2.1", "9999", 8080)


@pytest.mark.parametrize(
    "change",
    [
        {"depends_on": {"redis": {"condition": "service_helthy"}}},
        {"networks": ["nowhere"]},
        {"depends_on": {"nobody": {"condition": "service_started"}}},
        {"reed_only": True},
    ],
)
def test_compose_refuses_a_file_that_is_wrong(tmp_path: Path, change: dict[str, Any]) -> None:
    assert config(broken(tmp_path, change), "--quiet").returncode != 0


def test_hadolint_is_content_with_the_dockerfile() -> None:
    done = hadolint(ROOT / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_finds_an_image_without_a_tag(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM python:latest\nRUN cd /tmp\n", encoding="utf-8")
    done = hadolint(file)
    assert done.returncode != 0
    assert "DL3007" in done.stdout


def hadolint(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BIN / "hadolint"), str(file)], capture_output=True, text=True, check=False, timeout=60)
