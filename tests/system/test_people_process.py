"""The People API as a process of its own: the real gunicorn, what it serves and what it needs not."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapter.sources.segment.signature import sign
from tests.harness.ports import free_ports
from tests.harness.receiver_process import ROOT, SECRET, Receiver

TOKEN = "a token of the tests"


class PeopleProcess:
    """`python -m adapter people`, on the Redis of a receiver. No source's secret is in its environment."""

    def __init__(self, receiver: Receiver, folder: Path, **environ: str) -> None:
        self.port, self.metrics_port = free_ports(2)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FRESHGATE_")}
        self.environ = {
            **inherited,
            "FRESHGATE_CONFIG": receiver.environ["FRESHGATE_CONFIG"],
            "FRESHGATE_REDIS_URL": receiver.environ["FRESHGATE_REDIS_URL"],
            "FRESHGATE_PII_KEY": receiver.environ["FRESHGATE_PII_KEY"],
            "FRESHGATE_VAR": str(folder),
            "FRESHGATE_PEOPLE_PORT": str(self.port),
            "FRESHGATE_PEOPLE_METRICS_PORT": str(self.metrics_port),
            "FRESHGATE_API_TOKENS": TOKEN,
            **environ,
        }
        self.log = folder / "log"

    def __enter__(self) -> PeopleProcess:
        command = [sys.executable, "-m", "adapter", "people"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.environ, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while self.get("/readyz")[0] != http.client.OK:
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)

    def get(self, path: str, token: str = "", port: int = 0) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=5)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()


def post(receiver: Receiver, user: str, order: str) -> int:
    """An order of that user, signed as Segment does; returns the status."""
    event = {"type": "track", "event": "Order Completed", "messageId": order, "userId": user}
    body = json.dumps({**event, "properties": {"order_id": order, "total": 1}}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
    connection.request("POST", "/webhooks/segment", body, {"X-Signature": sign(SECRET, body)})
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.fixture(scope="module")
def both(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Receiver, PeopleProcess]]:
    folder = tmp_path_factory.mktemp("people")
    own = {"FRESHGATE_API_TOKENS": TOKEN, "FRESHGATE_PEOPLE_PORT": "8082"}
    with Receiver(redis_server, own) as receiver, PeopleProcess(receiver, folder) as people:
        yield receiver, people


def test_it_answers_what_the_receiver_recorded_and_the_receiver_does_not(both: tuple[Receiver, PeopleProcess]) -> None:
    receiver, people = both
    assert post(receiver, "ada", "o-1") == http.client.OK
    user = "ada"
    status, text = people.get(f"/api/people/{user}", TOKEN)
    assert (status, json.loads(text)["fields"]["order"]["trust"]) == (200, "server")
    assert json.loads(people.get(f"/api/people/{user}/recent", TOKEN)[1])["recent"][0]["event"] == "Order Completed"
    assert people.get(f"/api/people/{user}")[0] == http.client.UNAUTHORIZED
    assert people.get(f"/api/people/{user}", TOKEN, receiver.port)[0] == http.client.NOT_FOUND
    assert people.get("/webhooks/segment")[0] == http.client.NOT_FOUND


def test_its_description_and_its_metrics_are_its_own(both: tuple[Receiver, PeopleProcess]) -> None:
    _, people = both
    people.get("/api/people/nobody", TOKEN)
    described = json.loads(people.get("/openapi.json")[1])
    assert list(described["paths"]) == [
        "/api/people/{id}",
        "/api/people/{id}/recent",
        "/healthz",
        "/readyz",
        "/openapi.json",
    ]
    metrics = people.get("/metrics", port=people.metrics_port)[1]
    assert 'freshgate_build_info{process="people"' in metrics
    for name in ("people", "people-1"):
        assert f'freshgate_process_start_time_seconds{{process="{name}"}}' in metrics
    assert 'freshgate_people_cache_total{result="hit"}' in metrics
    assert "freshgate_events_total{" not in metrics


@pytest.mark.parametrize(
    ("environ", "text"),
    [({"FRESHGATE_PEOPLE_PORT": ""}, "FRESHGATE_PEOPLE_PORT"), ({"FRESHGATE_API_TOKENS": ""}, "FRESHGATE_API_TOKENS")],
)
def test_what_it_lacks_is_one_line(
    both: tuple[Receiver, PeopleProcess], tmp_path: Path, environ: dict[str, str], text: str
) -> None:
    environ = PeopleProcess(both[0], tmp_path, **environ).environ
    command = [sys.executable, "-m", "adapter", "people"]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode != 0
    assert text in done.stderr.strip()
    assert len(done.stderr.strip().splitlines()) == 1
