"""Tealium's URLs over HTTP: which methods and audiences they take, and that no query string is ever logged.

The app runs in Flask's test client on a real Valkey; `tests/adapter/sources/test_tealium.py` tests bodies.
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
from redis import Redis

from freshgate.settings import Settings, SourceSettings
from tests.adapter.sources.test_tealium import EVENT_STREAM, FORM, HEADER, VISITOR
from tests.harness.receiver import serving

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
    with serving(redis) as serve:
        yield serve(SETTINGS)


def status_and_counts(response: Any) -> tuple[int, dict[str, Any]]:
    return response.status_code, {name: count for name, count in response.get_json().items() if count}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_events_are_taken_by_post_put_and_patch(client: FlaskClient, method: str) -> None:
    response = client.open("/webhooks/tealium", method=method, json=EVENT_STREAM, headers=AUTHENTIC)
    assert status_and_counts(response) == (200, {"accepted": 1})


def test_a_form_and_the_redelivery_as_json_are_one_event(client: FlaskClient) -> None:
    form = urlencode({"data": json.dumps(EVENT_STREAM)})
    assert status_and_counts(client.post("/webhooks/tealium", data=form, content_type=FORM, headers=AUTHENTIC)) == (
        200,
        {"accepted": 1},
    )
    assert status_and_counts(client.post("/webhooks/tealium", json=EVENT_STREAM, headers=AUTHENTIC)) == (
        200,
        {"duplicate": 1},
    )


def test_a_membership_is_ignored_and_the_profile_accepted(client: FlaskClient) -> None:
    response = client.post(AUDIENCE, json=VISITOR, headers=AUTHENTIC)
    assert status_and_counts(response) == (200, {"accepted": 1, "ignored": 1})


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
def test_a_request_without_the_header_is_kept_out(client: FlaskClient, url: str) -> None:
    response = client.post(url, json=VISITOR)
    assert (response.status_code, response.get_json()) == (401, {"error": "signature rejected"})


@pytest.mark.parametrize("url", ["/webhooks/by_get", "/webhooks/by_get/Lamp%20lovers/joined"])
def test_get_is_read_where_the_source_allows_it(client: FlaskClient, url: str) -> None:
    response = client.get(url, query_string={"data": json.dumps(VISITOR)}, headers=AUTHENTIC)
    assert response.status_code == 200 and response.get_json()["accepted"] == 1
    assert response.get_json()["ignored"] == (1 if "lovers" in url else 0)


def test_get_is_the_same_event_as_post(client: FlaskClient) -> None:
    query = {"data": json.dumps(EVENT_STREAM)}
    assert status_and_counts(client.get("/webhooks/by_get", query_string=query, headers=AUTHENTIC)) == (
        200,
        {"accepted": 1},
    )
    assert status_and_counts(client.post("/webhooks/by_get", json=EVENT_STREAM, headers=AUTHENTIC)) == (
        200,
        {"duplicate": 1},
    )


@pytest.mark.parametrize("url", ["/webhooks/tealium", "/webhooks/segment", AUDIENCE])
def test_get_is_405_unless_the_settings_allow_it(client: FlaskClient, url: str) -> None:
    response = client.get(url, query_string={"data": json.dumps(VISITOR)}, headers=AUTHENTIC)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST, PUT, PATCH")


def test_head_records_nothing(client: FlaskClient, redis: Redis) -> None:
    response = client.head("/webhooks/by_get", query_string={"data": json.dumps(EVENT_STREAM)}, headers=AUTHENTIC)
    assert response.status_code == 405
    assert status_and_counts(client.post("/webhooks/by_get", json=EVENT_STREAM, headers=AUTHENTIC)) == (
        200,
        {"accepted": 1},
    )


def test_get_without_the_header_is_kept_out_and_without_data_is_no_event(client: FlaskClient) -> None:
    query = {"data": json.dumps(VISITOR)}
    assert client.get("/webhooks/by_get", query_string=query).status_code == 401
    assert status_and_counts(client.get("/webhooks/by_get", headers=AUTHENTIC))[1]["refused"] == 1
    assert client.get("/webhooks/by_get?data=%7B", headers=AUTHENTIC).status_code == 400


def test_a_replay_header_is_ignored_where_the_source_has_no_token(client: FlaskClient) -> None:
    replay = {**AUTHENTIC, "X-Freshgate-Replay": "1", "X-Freshgate-Token": "made up"}
    for expected in ({"accepted": 1}, {"duplicate": 1}):
        assert status_and_counts(client.post("/webhooks/tealium", json=EVENT_STREAM, headers=replay)) == (200, expected)


def test_no_query_string_reaches_a_log(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    query = {"data": '{"customer_email": "ada@example.com"}'}
    for url in ("/webhooks/by_get", "/webhooks/tealium", "/webhooks/nobody"):
        client.get(url, query_string=query)
        client.get(url, query_string=query, headers=AUTHENTIC)
        client.get(url, query_string={"data": "ada@example.com{"}, headers=AUTHENTIC)
    output = capsys.readouterr()
    logged = caplog.text + output.out + output.err
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
    with log.open("wb") as log_file:
        environ = {**os.environ, "FRESHGATE_CONFIG": str(config)}
        process = subprocess.Popen(command, stdout=log_file, stderr=log_file, env=environ)
        try:
            assert b"200 OK" in fetch_raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", port)
            assert b"400 Bad Request" in fetch_raw(QUERY, port)
            assert b"400 Bad Request" in fetch_raw(HEADER_LINE, port)
        finally:
            process.terminate()
            process.wait(20)
    logged = log.read_text()
    # A flood of them is not a flood of lines.
    assert logged.count("Invalid request from ip=127.0.0.1") == 1
    assert "ada@" not in logged and "customer_email" not in logged


def fetch_raw(request: bytes, port: int) -> bytes:
    """The server's response to these bytes, once it listens."""
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
