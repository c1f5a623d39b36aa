"""The sandbox over real sockets: SendGrid's contract, the outbox, the faults."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from freshgate.errors import EspError
from freshgate.settings import EspSettings
from tests.harness.ports import free_ports
from tests.workers.sandbox.calls import GOOD, call, send
from workers.esp.base import Message
from workers.esp.sendgrid import Sendgrid
from workers.sandbox.server import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def esp(sandbox: Sandbox) -> Iterator[Sendgrid]:
    esp = Sendgrid("sendgrid", EspSettings(base_url=sandbox.url, timeout_s=0.3))
    yield esp
    esp.close()


def mail() -> Message:
    return Message(send_id="s-1", trigger="welcome", to="ada@example.com", template_id="d-1", template_data={})


def test_an_accepted_mail_is_listed_with_exactly_the_promised_keys(sandbox: Sandbox) -> None:
    status, headers, body = send(sandbox)
    assert (status, body) == (202, b"")
    assert headers["X-Message-Id"]
    (message,) = json.loads(call(sandbox, "GET", "/messages")[2])
    assert abs(message.pop("received_at_ms") - time.time() * 1000) < 5000
    assert message == {
        "provider": "sendgrid",
        "to": "ada@example.com",
        "template_id": "d-1",
        "template_data": GOOD["personalizations"][0]["dynamic_template_data"],
        "custom_args": {"freshgate_send": "s-1", "freshgate_trigger": "welcome"},
        "raw": GOOD,
    }


def test_deleted_messages_are_gone(sandbox: Sandbox) -> None:
    send(sandbox)
    assert call(sandbox, "DELETE", "/messages")[0] == 204
    assert sandbox.messages == []


def test_it_keeps_the_newest_only() -> None:
    with Sandbox(keep=2) as sandbox:
        for number in range(3):
            send(sandbox, {**GOOD, "template_id": f"d-{number}"})
        assert [message["template_id"] for message in sandbox.messages] == ["d-1", "d-2"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"personalizations": []}, "personalizations"),
        ({"personalizations": [{"to": [{"email": "nobody"}]}]}, "personalizations.0.to.0.email"),
        (
            {"personalizations": [{"to": [{"email": "a@b.example"}], "custom_args": {"n": 1}}]},
            "personalizations.0.custom_args.n",
        ),
        (
            {"personalizations": [{"to": [{"email": "a@b.example"}], "custom_args": {"n": "x" * 10_000}}]},
            "personalizations.0.custom_args",
        ),
        ({"from": {}}, "from.email"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_and_the_field_named(
    sandbox: Sandbox, change: dict[str, Any], field: str
) -> None:
    status, _, body = send(sandbox, {**GOOD, **change})
    (error,) = json.loads(body)["errors"]
    assert (status, error["field"], set(error)) == (400, field, {"message", "field", "help"})
    assert sandbox.messages == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 5000, b"1" * 5000, b"NaN",
     json.dumps(GOOD).replace("12.5", "1e999").encode(), json.dumps(GOOD).replace("12.5", "NaN").encode()],
)  # fmt: skip
def test_odd_bodies_are_the_callers_fault(sandbox: Sandbox, body: bytes) -> None:
    assert send(sandbox, body)[0] == 400
    assert call(sandbox, "POST", "/faults", body)[0] == 400
    assert call(sandbox, "GET", "/")[0] == 200


def test_no_key_wrong_type_and_too_many_bytes_are_refused(sandbox: Sandbox) -> None:
    assert send(sandbox, Authorization="Bearer ")[0] == 401
    assert send(sandbox, Content_Type="text/plain")[0] == 415
    assert send(sandbox, b" " * (30 * 1024 * 1024 + 1))[0] == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("BREW", "/", 405),
        ("PUT", "/messages", 405),
        ("GET", "/v3/mail/send", 405),
        ("GET", "/x", 404),
        ("GET", "*", 404),
    ],
)
def test_an_unknown_path_or_method_is_never_a_5xx(sandbox: Sandbox, method: str, path: str, status: int) -> None:
    assert call(sandbox, method, path)[0] == status


def test_the_page_shows_the_mail_and_escapes_it(sandbox: Sandbox) -> None:
    assert b"No mail yet" in call(sandbox, "GET", "/")[2]
    send(sandbox)
    status, headers, page = call(sandbox, "GET", "/")
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
    for text in (b"welcome", b"ada@example.com", b"Lamp", b"12.5", b"s-1", b"&lt;b&gt;Ada"):
        assert text in page
    assert b"<b>Ada" not in page


@pytest.mark.parametrize(
    "odd", [{"products": 1}, {"products": [1, {"name": []}]}, {"total": {}}, {"first_name": "\ud800"}]
)
def test_the_page_survives_odd_template_data(sandbox: Sandbox, odd: dict[str, Any]) -> None:
    body = json.loads(json.dumps(GOOD))
    body["personalizations"][0]["dynamic_template_data"] = odd
    assert send(sandbox, body)[0] == 202
    assert call(sandbox, "GET", "/")[0] == 200


def test_faults_come_first_in_first_out_and_run_out(sandbox: Sandbox) -> None:
    call(sandbox, "POST", "/faults", {"kind": "status", "count": 2, "status": 429, "headers": {"Retry-After": "7"}})
    call(sandbox, "POST", "/faults", {"kind": "status", "status": 500})
    assert [fault["count"] for fault in json.loads(call(sandbox, "GET", "/faults")[2])] == [2, 1]
    replies = [send(sandbox) for _ in range(4)]
    assert [status for status, _, _ in replies] == [429, 429, 500, 202]
    assert replies[0][1]["Retry-After"] == "7"
    assert json.loads(replies[0][2])["errors"][0]["message"]


def test_cleared_faults_do_not_happen(sandbox: Sandbox) -> None:
    call(sandbox, "POST", "/faults", {"kind": "drop", "count": 5})
    assert call(sandbox, "DELETE", "/faults")[0] == 204
    assert send(sandbox)[0] == 202


@pytest.mark.parametrize("fault", [{}, {"kind": "explode"}, {"kind": "drop", "count": 0}, {"kind": "drop", "x": 1},
                                   {"kind": "status", "headers": {"A": "b\r\nc"}}])  # fmt: skip
def test_an_unknown_fault_is_refused_with_what_is_allowed(sandbox: Sandbox, fault: dict[str, Any]) -> None:
    status, _, body = call(sandbox, "POST", "/faults", fault)
    assert status == 400
    assert b"drop_before_read" in body


@pytest.mark.parametrize("kind", ["drop", "hang"])
@pytest.mark.parametrize("accept", [True, False])
def test_a_lost_answer_is_unknown_whether_or_not_the_mail_is_in_the_outbox(
    sandbox: Sandbox, esp: Sendgrid, kind: str, accept: bool
) -> None:
    call(sandbox, "POST", "/faults", {"kind": kind, "seconds": 5, "accept": accept})
    with pytest.raises(EspError) as raised:
        esp.send(mail())
    assert raised.value.ambiguous
    assert len(sandbox.messages) == accept


@pytest.mark.parametrize("kind", ["dribble", "drop_before_read"])
def test_other_lost_answers_are_unknown_too(sandbox: Sandbox, esp: Sendgrid, kind: str) -> None:
    call(sandbox, "POST", "/faults", {"kind": kind})
    with pytest.raises(EspError) as raised:
        esp.send(mail())
    assert raised.value.ambiguous


def test_a_slow_answer_is_an_answer(sandbox: Sandbox, esp: Sendgrid) -> None:
    call(sandbox, "POST", "/faults", {"kind": "slow", "seconds": 0.1})
    started = time.monotonic()
    assert esp.send(mail()).status == 202
    assert time.monotonic() - started >= 0.1


def test_it_ends_at_once_on_sigterm() -> None:
    (port,) = free_ports(1)
    code = f"from workers.sandbox import server; server.serve('127.0.0.1', {port})"
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.getcwd()})
    deadline = time.monotonic() + 10
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/messages", timeout=1).close()
            break
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(2) == 0
