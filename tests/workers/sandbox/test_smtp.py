"""The sandbox's SMTP side: what it takes stands in the outbox, it asks for its password, and it plays the faults."""

from __future__ import annotations

import re
import smtplib
from typing import Any

import msgspec
import pytest

from freshgate.errors import EspError
from tests.workers.esp.smtp_servers import CONTENT, MESSAGE
from tests.workers.esp.test_smtp import AMBIGUOUS, BLOCKED, PERMANENT, RETRY, flags, smtp
from tests.workers.sandbox.calls import call, send
from workers.esp.smtp import Smtp
from workers.sandbox.outbox_page import MAX_FRAMES
from workers.sandbox.server import Sandbox


@pytest.fixture
def sandbox() -> Any:
    with Sandbox(smtp_port=0) as sandbox:
        yield sandbox


def account(sandbox: Sandbox, **settings: Any) -> Smtp:
    assert sandbox.smtp
    return smtp(sandbox.smtp.port, **settings)


def fault(sandbox: Sandbox, **fault: Any) -> None:
    assert call(sandbox, "POST", "/faults", fault)[0] == 200


def test_a_mail_by_smtp_stands_in_the_outbox_beside_the_others(sandbox: Sandbox) -> None:
    assert send(sandbox)[0] == 202
    result = account(sandbox).send(MESSAGE)
    assert result.provider_id
    first, mail = sandbox.messages
    assert (first["provider"], mail["provider"], mail["to"]) == ("sendgrid", "smtp", MESSAGE.to)
    assert mail.keys() == first.keys()
    assert mail["custom_args"] == {"freshgate_send": MESSAGE.send_id, "freshgate_trigger": "welcome"}
    raw = mail["raw"]
    assert raw["subject"] == CONTENT.subject
    assert raw["text"].replace("\r\n", "\n") == CONTENT.text
    assert raw["html"].strip() == CONTENT.html
    assert raw["headers"]["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"


def test_the_page_links_to_the_mail_as_a_reader_sees_it_and_it_runs_nothing(sandbox: Sandbox) -> None:
    content = msgspec.structs.replace(CONTENT, html="<p>Hello</p><script>alert(1)</script>", text="<b>text</b>")
    account(sandbox).send(msgspec.structs.replace(MESSAGE, render=lambda: content))
    page = call(sandbox, "GET", "/")[2].decode()
    assert "&lt;b&gt;text&lt;/b&gt;" in page
    (path,) = re.findall(r'href="(/rendered/[^"]+)"', page)
    # In a frame without any permission, and only on this page.
    assert re.findall(r"<iframe ([^>]*) title=", page) == [f'sandbox src="{path}"']
    status, headers, body = call(sandbox, "GET", path)
    assert (status, body.decode().strip()) == (200, content.html)
    assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
    call(sandbox, "DELETE", "/messages")
    for other in (path, "/rendered/x", "/rendered/-/1", "/rendered/../messages/1"):
        assert call(sandbox, "GET", other)[0] == 404


def test_the_newest_mails_stand_in_frames_and_all_have_a_link(sandbox: Sandbox) -> None:
    esp = account(sandbox)
    for number in range(MAX_FRAMES + 2):
        esp.send(msgspec.structs.replace(MESSAGE, send_id=f"s-{number}"))
    page = call(sandbox, "GET", "/")[2].decode()
    newest = [f"s-{number}" for number in reversed(range(MAX_FRAMES + 2))]
    assert re.findall(r'<iframe sandbox src="/rendered/([^/]+)/', page) == newest[:MAX_FRAMES]
    assert re.findall(r'href="/rendered/([^/]+)/', page) == newest


def test_a_mail_of_any_client_is_shown_on_the_page(sandbox: Sandbox) -> None:
    assert sandbox.smtp
    with smtplib.SMTP("127.0.0.1", sandbox.smtp.port, timeout=5) as client:
        client.sendmail("a@example.com", ["b@example.com", "c@example.com"], b"Subject: Hi\r\n\r\n..dots\r\n.end\r\n")
    assert [mail["to"] for mail in sandbox.messages] == ["b@example.com", "c@example.com"]
    assert sandbox.messages[0]["raw"]["text"].replace("\r\n", "\n") == "..dots\n.end\n"
    status, _, page = call(sandbox, "GET", "/")
    assert status == 200
    assert b"c@example.com" in page


def test_a_mail_that_is_not_one_is_kept_all_the_same(sandbox: Sandbox) -> None:
    assert sandbox.smtp
    with smtplib.SMTP("127.0.0.1", sandbox.smtp.port, timeout=5) as client:
        client.sendmail(
            "a@example.com", ["b@example.com"], b"\xff\xfe: x\r\nContent-Type: text/plain; charset=no\r\n\r\n\xff"
        )
    assert len(sandbox.messages) == 1


@pytest.mark.parametrize(
    ("kind", "expected", "mails"),
    [
        ({"kind": "status", "status": 503}, RETRY, 0),
        ({"kind": "status", "status": 400}, PERMANENT, 0),
        ({"kind": "status", "status": 401}, BLOCKED, 0),
        ({"kind": "drop"}, AMBIGUOUS, 0),
        ({"kind": "drop", "accept": True}, AMBIGUOUS, 1),
        ({"kind": "hang", "seconds": 2}, AMBIGUOUS, 0),
        ({"kind": "dribble"}, AMBIGUOUS, 1),
        ({"kind": "drop_before_read"}, RETRY, 0),
    ],
)
def test_it_plays_the_faults_of_the_queue(
    sandbox: Sandbox, kind: dict[str, Any], expected: tuple[bool, ...], mails: int
) -> None:
    fault(sandbox, **kind)
    with pytest.raises(EspError) as raised:
        account(sandbox, timeout_s=0.5).send(MESSAGE)
    assert flags(raised.value) == expected
    assert len(sandbox.messages) == mails


def test_a_fault_of_another_provider_is_not_its_own(sandbox: Sandbox) -> None:
    fault(sandbox, kind="drop", provider="sendgrid")
    fault(sandbox, kind="status", status=400, provider="smtp")
    with pytest.raises(EspError):
        account(sandbox).send(MESSAGE)
    account(sandbox).send(MESSAGE)
    assert len(sandbox.messages) == 1


def test_a_slow_answer_is_an_answer(sandbox: Sandbox) -> None:
    fault(sandbox, kind="slow", seconds=0.05)
    account(sandbox).send(MESSAGE)
    assert len(sandbox.messages) == 1


def test_with_a_password_nobody_else_may_leave_mails() -> None:
    with Sandbox(smtp_port=0, password="sesame") as sandbox:
        assert sandbox.smtp
        for settings in ({}, {"username": "x", "password": "wrong"}):
            with pytest.raises(EspError) as raised:
                smtp(sandbox.smtp.port, **settings).send(MESSAGE)
            assert raised.value.blocked
        smtp(sandbox.smtp.port, username="x", password="sesame").send(MESSAGE)
        with smtplib.SMTP("127.0.0.1", sandbox.smtp.port, timeout=5) as client:
            client.ehlo()
            client.user, client.password = "x", "sesame"
            assert client.auth("LOGIN", client.auth_login)[0] == 235
        assert len(sandbox.messages) == 1


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"RCPT TO:<a@example.com>", 503),
        (b"DATA", 503),
        (b"VRFY ada", 502),
        (b"\xff\xfe", 502),
        (b"NOOP", 250),
        (b"AUTH PLAIN !!", 501),
    ],
)
def test_commands_out_of_turn_are_answered(sandbox: Sandbox, line: bytes, code: int) -> None:
    assert sandbox.smtp
    with smtplib.SMTP("127.0.0.1", sandbox.smtp.port, timeout=5) as client:
        client.send(line + b"\r\n")
        assert client.getreply()[0] == code


def test_a_sandbox_without_smtp_has_no_port_for_it() -> None:
    assert Sandbox().smtp is None
