"""Tealium's URLs over HTTP: which methods and which audiences, and that no query string is ever logged.

The app is Flask's own client on a real Valkey; bodies are `test_tealium.py`'s subject.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from redis import Redis

from adapter.app import create_app
from freshgate.settings import Settings, SourceSettings
from tests.adapter.sources.test_tealium import EVENT_STREAM, FORM, HEADER, VISITOR

AUTHENTIC = {"Authorization": HEADER}
AUDIENCE = "/webhooks/tealium/Lamp%20lovers/joined"
SETTINGS = Settings(
    pii_key="for tests",
    sources={
        "tealium": SourceSettings(kind="tealium", secrets=(HEADER,)),
        "by_get": SourceSettings(kind="tealium", secrets=(HEADER,), allow_get=True),
        "segment": SourceSettings(kind="segment", secrets=("abc123",), tokens=("t",), allow_get=True),
    },
)


@pytest.fixture
def client(redis: Redis) -> Iterator[FlaskClient]:
    # The exporter's own series are of the process: one app's must go before the next one's come.
    before = set(REGISTRY._collector_to_names)
    yield create_app(SETTINGS, redis).test_client()
    for collector in set(REGISTRY._collector_to_names) - before:
        REGISTRY.unregister(collector)


def told(answer: Any) -> tuple[int, dict[str, Any]]:
    return answer.status_code, {name: count for name, count in answer.get_json().items() if count}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_events_are_taken_by_post_put_and_patch(client: FlaskClient, method: str) -> None:
    answer = client.open("/webhooks/tealium", method=method, json=EVENT_STREAM, headers=AUTHENTIC)
    assert told(answer) == (200, {"accepted": 1})


def test_a_form_and_the_redelivery_as_json_are_one_event(client: FlaskClient) -> None:
    form = urlencode({"data": json.dumps(EVENT_STREAM)})
    assert told(client.post("/webhooks/tealium", data=form, content_type=FORM, headers=AUTHENTIC)) == (
        200,
        {"accepted": 1},
    )
    assert told(client.post("/webhooks/tealium", json=EVENT_STREAM, headers=AUTHENTIC)) == (200, {"duplicate": 1})


def test_a_membership_is_ignored_and_the_profile_accepted(client: FlaskClient) -> None:
    answer = client.post(AUDIENCE, json=VISITOR, headers=AUTHENTIC)
    assert told(answer) == (200, {"accepted": 1, "ignored": 1})


@pytest.mark.parametrize("turn", ["joined", "left"])
def test_each_turn_of_an_audience_has_its_url(client: FlaskClient, turn: str) -> None:
    assert client.put(f"/webhooks/tealium/a/{turn}", json=VISITOR, headers=AUTHENTIC).status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "/webhooks/nobody",
        "/webhooks/nobody/a/joined",
        "/webhooks/segment/a/joined",
        "/webhooks/tealium/a/stayed",
        "/webhooks/tealium/a",
        "/webhooks/tealium/a/b/joined",
    ],
)
def test_any_other_url_is_404(client: FlaskClient, url: str) -> None:
    assert client.post(url, json=VISITOR, headers=AUTHENTIC).status_code == 404


@pytest.mark.parametrize("url", ["/webhooks/tealium", AUDIENCE])
def test_nobody_without_the_header_is_let_in(client: FlaskClient, url: str) -> None:
    answer = client.post(url, json=VISITOR)
    assert (answer.status_code, answer.get_json()) == (401, {"error": "signature rejected"})


@pytest.mark.parametrize("url", ["/webhooks/by_get", "/webhooks/by_get/Lamp%20lovers/joined"])
def test_get_is_read_where_the_source_allows_it(client: FlaskClient, url: str) -> None:
    answer = client.get(url, query_string={"data": json.dumps(VISITOR)}, headers=AUTHENTIC)
    assert answer.status_code == 200 and answer.get_json()["accepted"] == 1
    assert answer.get_json()["ignored"] == (1 if "lovers" in url else 0)


def test_get_is_the_same_event_as_post(client: FlaskClient) -> None:
    query = {"data": json.dumps(EVENT_STREAM)}
    assert told(client.get("/webhooks/by_get", query_string=query, headers=AUTHENTIC)) == (200, {"accepted": 1})
    assert told(client.post("/webhooks/by_get", json=EVENT_STREAM, headers=AUTHENTIC)) == (200, {"duplicate": 1})


@pytest.mark.parametrize("url", ["/webhooks/tealium", "/webhooks/segment", AUDIENCE])
def test_get_is_405_where_nobody_allowed_it(client: FlaskClient, url: str) -> None:
    answer = client.get(url, query_string={"data": json.dumps(VISITOR)}, headers=AUTHENTIC)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST, PUT, PATCH")


def test_head_tells_of_nothing(client: FlaskClient, redis: Redis) -> None:
    answer = client.head("/webhooks/by_get", query_string={"data": json.dumps(EVENT_STREAM)}, headers=AUTHENTIC)
    assert answer.status_code == 405
    assert told(client.post("/webhooks/by_get", json=EVENT_STREAM, headers=AUTHENTIC)) == (200, {"accepted": 1})


def test_get_without_the_header_is_kept_out_and_without_data_is_no_event(client: FlaskClient) -> None:
    query = {"data": json.dumps(VISITOR)}
    assert client.get("/webhooks/by_get", query_string=query).status_code == 401
    assert told(client.get("/webhooks/by_get", headers=AUTHENTIC))[1]["refused"] == 1
    assert client.get("/webhooks/by_get?data=%7B", headers=AUTHENTIC).status_code == 400


def test_a_redelivery_asked_for_under_the_token_is_for_kinds_with_one(client: FlaskClient) -> None:
    replay = {**AUTHENTIC, "X-Freshgate-Replay": "1", "X-Freshgate-Token": "made up"}
    for expected in ({"accepted": 1}, {"duplicate": 1}):
        assert told(client.post("/webhooks/tealium", json=EVENT_STREAM, headers=replay)) == (200, expected)


def test_no_query_string_reaches_a_log(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    query = {"data": '{"customer_email": "ada@example.com"}'}
    for url in ("/webhooks/by_get", "/webhooks/tealium", "/webhooks/nobody"):
        client.get(url, query_string=query)
        client.get(url, query_string=query, headers=AUTHENTIC)
        client.get(url, query_string={"data": "ada@example.com{"}, headers=AUTHENTIC)
    written = capsys.readouterr()
    logged = caplog.text + written.out + written.err
    assert "not_authentic" in logged and "body_refused" in logged
    assert "ada@" not in logged and "example.com" not in logged


CONFIG = """
redis_url = "{redis}"
pii_key = "for tests"
var = "{var}"
port = {port}
metrics_port = 0
receiver_workers = 1
sources.tealium = {{ secrets = ["Basic x"], allow_get = true }}
"""
QUERY = b'GET /webhooks/tealium?data={"customer_email": "ada@example.com"} HTTP/1.1\r\nHost: x\r\n\r\n'
HEADER_LINE = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX Ada: ada@example.com\r\n\r\n"


def test_gunicorn_does_not_quote_a_request_that_it_cannot_parse(
    redis_server: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    config = tmp_path / "freshgate.toml"
    config.write_text(CONFIG.format(redis=redis_server, var=tmp_path / "var", port=port))
    command = [sys.executable, "-m", "gunicorn", "-c", "python:adapter.gunicorn_conf", "adapter.app:from_environment()"]
    log = tmp_path / "log"
    with log.open("wb") as written:
        environ = {**os.environ, "FRESHGATE_CONFIG": str(config)}
        process = subprocess.Popen(command, stdout=written, stderr=written, env=environ)
        try:
            assert b"200 OK" in answer_to(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", port)
            assert b"400 Bad Request" in answer_to(QUERY, port)
            assert b"400 Bad Request" in answer_to(HEADER_LINE, port)
        finally:
            process.terminate()
            process.wait(20)
    told = log.read_text()
    assert told.count("Invalid request from ip=127.0.0.1") == 2
    assert "ada@" not in told and "customer_email" not in told


def answer_to(request: bytes, port: int) -> bytes:
    """What the server says to these bytes; waits until one listens."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(request)
                return b"".join(iter(lambda: connection.recv(65536), b""))
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
