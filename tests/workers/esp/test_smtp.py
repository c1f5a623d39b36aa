"""SMTP against real servers: what a mail looks like, what each reply means, and what is in doubt after a failure.

`test_smtp_tls.py` has TLS and login, `test_smtp_dkim.py` signatures.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import msgspec
import pytest

from freshgate.errors import EspError, SettingsError
from freshgate.settings import EspSettings
from freshgate.templates import Content
from tests.harness.ports import free_ports
from tests.workers.esp.smtp_servers import CONTENT, MESSAGE, RecordingServer, ScriptedSmtp, Step, drops, ends_with
from workers.esp import ESPS
from workers.esp.smtp import MAX_MAILS, Smtp

LONG_NAME = "x" * 64


def smtp(port: int, **settings: Any) -> Smtp:
    options: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": port,
        "timeout_s": 5.0,
        "from_email": "shop@example.com",
    } | settings
    return Smtp("mail", EspSettings(kind="smtp", base_url="", **options), now_s=lambda: 1_790_000_000.0)


@pytest.fixture
def server() -> Iterator[RecordingServer]:
    server = RecordingServer()
    yield server
    server.close()


@pytest.fixture
def scripted() -> Iterator[ScriptedSmtp]:
    server = ScriptedSmtp()
    yield server
    server.close()


@pytest.fixture
def esp(server: RecordingServer) -> Iterator[Smtp]:
    esp = smtp(server.port, from_name="The Shop")
    yield esp
    esp.close()


def parsed(server: RecordingServer) -> EmailMessage:
    return message_from_bytes(server.mails[-1].content or b"", _class=EmailMessage, policy=default)  # type: ignore[arg-type]


def failure(esp: Smtp, message: Any = MESSAGE) -> EspError:
    with pytest.raises(EspError) as raised:
        esp.send(message)
    assert MESSAGE.to not in str(raised.value)
    return raised.value


def flags(error: EspError) -> tuple[bool, bool, bool]:
    return error.permanent, error.ambiguous, error.blocked


PERMANENT, AMBIGUOUS, BLOCKED, RETRY = (True, False, False), (False, True, False), (False, False, True), (False,) * 3


def test_a_mail_arrives_whole_in_text_and_html(esp: Smtp, server: RecordingServer) -> None:
    result = esp.send(MESSAGE)
    assert (result.provider_id, result.status) == ("4ZQ7Xb1", 250)
    mail = parsed(server)
    assert (server.mails[0].mail_from, server.mails[0].rcpt_tos) == ("shop@example.com", ["ada@example.com"])
    assert mail["From"] == "The Shop <shop@example.com>"
    assert mail["To"] == "ada@example.com"
    assert mail["Subject"] == "Hello Ada"
    assert mail["Date"] == "Mon, 21 Sep 2026 14:13:20 +0000"
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert text and html
    assert text.get_content().replace("\r\n", "\n") == CONTENT.text
    assert html.get_content().strip() == CONTENT.html
    assert [part.defects for part in mail.walk()] == [[], [], []]


def test_the_mail_says_which_send_it_is(esp: Smtp, server: RecordingServer) -> None:
    for _ in range(2):
        esp.send(MESSAGE)
        assert parsed(server)["Message-ID"] == f"<{MESSAGE.send_id}@example.com>"
        assert parsed(server)["Freshgate-Send"] == MESSAGE.send_id
        assert parsed(server)["Freshgate-Trigger"] == "welcome"
    # The same send twice is the same mail, byte for byte.
    assert server.mails[0].content == server.mails[1].content


def test_headers_of_the_message_arrive_on_one_line(esp: Smtp, server: RecordingServer) -> None:
    esp.send(MESSAGE)
    raw = server.mails[0].content
    for name, value in MESSAGE.headers.items():
        assert f"\r\n{name}: {value}\r\n".encode() in (raw or b"")


def test_no_line_is_longer_than_any_server_takes(esp: Smtp, server: RecordingServer) -> None:
    content = Content(subject="\u00fc" * 250, text="x" * 5000, html="<p>" + "y" * 5000)
    esp.send(msgspec.structs.replace(MESSAGE, render=lambda: content))
    raw = server.mails[0].content
    assert isinstance(raw, bytes)
    assert max(map(len, raw.split(b"\r\n"))) <= 200
    assert raw.isascii()
    assert parsed(server)["Subject"] == content.subject


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"List-Unsubscribe": "<x>\r\nBcc: eve@example.com"}},
        {"headers": {"List-Unsubscribe\r\nBcc": "eve@example.com"}},
        {"headers": {"X": "y\nBcc: eve@example.com"}},
        {"headers": {"X": "\u00fc"}},
        {"headers": {"X": "y" * 2000}},
        {"trigger": "welcome\r\nBcc: eve@example.com"},
        {"trigger": "welcome\r\n Bcc: eve@example.com"},
        {"trigger": "w\u00e4lcome"},
        {"send_id": "x\r\n\r\nbody"},
        {"to": "ada@example.com\r\nRCPT TO:<eve@example.com>"},
        {"to": "ada@example.com>\r\nDATA"},
        {"to": "ada@example.com,eve@example.com"},
        {"to": "Ada <ada@example.com>"},
        {"to": "nobody"},
    ],
)
def test_nothing_of_a_message_becomes_a_header_or_a_command(
    esp: Smtp, server: RecordingServer, change: dict[str, Any]
) -> None:
    with pytest.raises(EspError) as raised:
        esp.send(msgspec.structs.replace(MESSAGE, **change))
    assert raised.value.permanent
    assert server.mails == []


def test_a_subject_with_an_end_of_a_line_writes_no_header(esp: Smtp, server: RecordingServer) -> None:
    content = Content(subject="Hi\r\nBcc: eve@example.com\n\nbody", text="x")
    esp.send(msgspec.structs.replace(MESSAGE, render=lambda: content))
    assert parsed(server)["Bcc"] is None
    assert parsed(server).get_content_type() == "text/plain"


@pytest.mark.parametrize(
    ("address", "envelope", "utf8"),
    [
        ("ada@b\u00fccher.example", "ada@xn--bcher-kva.example", False),
        ("\u00e4da@example.com", "\u00e4da@example.com", True),
    ],
)
def test_addresses_beyond_ascii(esp: Smtp, server: RecordingServer, address: str, envelope: str, utf8: bool) -> None:
    esp.send(msgspec.structs.replace(MESSAGE, to=address))
    assert server.mails[0].rcpt_tos == [envelope]
    assert ("SMTPUTF8" in server.mails[0].mail_options) == utf8
    assert f"\r\nTo: {envelope}\r\n".encode() in (server.mails[0].content or b"")


def test_a_server_without_smtputf8_is_not_sent_an_address_beyond_ascii(scripted: ScriptedSmtp) -> None:
    esp = smtp(scripted.port)
    error = failure(esp, msgspec.structs.replace(MESSAGE, to="\u00e4da@example.com"))
    assert flags(error) == PERMANENT
    esp.send(MESSAGE)
    assert (scripted.connections, len(scripted.mails)) == (1, 1)


@pytest.mark.parametrize(
    ("step", "reply", "expected"),
    [
        ("RCPT", "550 5.1.1 no such user", PERMANENT),
        ("RCPT", "550 no such user", PERMANENT),
        ("RCPT", "552 5.2.2 mailbox full", PERMANENT),
        ("RCPT", "450 4.2.1 greylisted", RETRY),
        ("RCPT", "451 4.7.1 try again later", RETRY),
        ("RCPT", "554 5.7.1 relay access denied", BLOCKED),
        ("RCPT", "550 relay not permitted", BLOCKED),
        ("RCPT", "554 5.7.1 Service unavailable; client host blocked", BLOCKED),
        ("RCPT", "554 5.7.1 <x>: Recipient address rejected: Access denied", PERMANENT),
        ("RCPT", "550 5.7.133 only members may send to this group", PERMANENT),
        ("RCPT", "550 5.7.17 the mailbox has another owner", PERMANENT),
        ("RCPT", "550 5.7.8 your login has ended", BLOCKED),
        ("RCPT", "452 4.2.2 ada@example.com is full", RETRY),
        ("MAIL", "550 5.1.8 this sender may not", BLOCKED),
        ("MAIL", "530 5.7.0 must issue STARTTLS", BLOCKED),
        ("MAIL", "552 5.3.4 too large", PERMANENT),
        ("MAIL", "451 4.3.2 shutting down", RETRY),
        ("mail", "554 5.6.0 not a mail", PERMANENT),
        ("mail", "550 5.7.1 looks like spam", PERMANENT),
        ("mail", "554 5.7.0 has a virus", PERMANENT),
        ("mail", "550 5.7.23 SPF says no", BLOCKED),
        ("mail", "550 5.7.26 neither SPF nor DKIM", BLOCKED),
        ("mail", "550 5.7.13 account disabled", BLOCKED),
        ("mail", "535 no longer", BLOCKED),
        ("mail", "550 5.7.100 anything", PERMANENT),
        ("mail", "421 4.3.2 shutting down", RETRY),
        ("mail", "452 4.3.1 disk full", RETRY),
    ],
)
def test_a_refusal_means_what_its_code_says(
    esp: Smtp, server: RecordingServer, step: str, reply: str, expected: tuple[bool, ...]
) -> None:
    server.replies = {step: reply}
    error = failure(esp)
    assert flags(error) == expected
    assert error.status == int(reply[:3])
    assert f"mail: {reply[:9].rstrip('no t')}"[:9] in str(error)
    server.replies = {}
    esp.send(MESSAGE)
    assert len(server.mails) == 1


def test_a_session_is_used_again_after_a_refusal(esp: Smtp, server: RecordingServer) -> None:
    esp.send(MESSAGE)
    server.replies = {"RCPT": "550 5.1.1 no such user"}
    failure(esp)
    server.replies = {}
    esp.send(MESSAGE)
    assert server.connections == 1


@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("fault", ["drops", "silent", "nonsense", "cut"])
def test_what_goes_wrong_before_the_mails_text_is_tried_again(scripted: ScriptedSmtp, step: str, fault: str) -> None:
    steps: dict[str, Step | bytes] = {
        "drops": drops,
        "silent": scripted.silent,
        "nonsense": b"HTTP/1.1 200 OK\r\n",
        "cut": ends_with(b"250 cut off"),
    }
    scripted.script = {step: steps[fault]}
    error = failure(smtp(scripted.port, timeout_s=0.4))
    assert flags(error) == RETRY
    assert "not sent" in str(error)
    assert scripted.mails == []


@pytest.mark.parametrize("fault", ["drops", "silent", "nonsense", "cut", "dribbles", "endless"])
def test_what_goes_wrong_after_the_mails_text_is_in_doubt(scripted: ScriptedSmtp, fault: str) -> None:
    steps: dict[str, Step | bytes] = {
        "drops": drops,
        "silent": scripted.silent,
        "nonsense": b"99 bottles\r\n",
        "cut": ends_with(b"250 2.0.0 O"),
        "dribbles": scripted.dribbles,
        "endless": b"250-more\r\n" * 10_000,
    }
    scripted.script = {"mail": steps[fault]}
    started = time.monotonic()
    error = failure(smtp(scripted.port, timeout_s=0.4))
    assert flags(error) == AMBIGUOUS
    assert "sent, but no whole answer" in str(error)
    assert len(scripted.mails) == 1
    assert time.monotonic() - started < 2


def test_a_mail_that_the_server_neither_takes_nor_refuses_is_in_doubt(scripted: ScriptedSmtp) -> None:
    scripted.script = {"mail": b"354 and now?\r\n"}
    assert flags(failure(smtp(scripted.port))) == AMBIGUOUS


def test_after_a_failure_the_next_mail_has_a_new_session(scripted: ScriptedSmtp) -> None:
    esp = smtp(scripted.port, timeout_s=0.4)
    scripted.script = {"mail": drops}
    failure(esp)
    scripted.script = {}
    esp.send(MESSAGE)
    assert scripted.connections == 2


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("ending", [drops, ends_with(b"421 4.7.0 too many mails in this session\r\n")])
def test_a_kept_session_that_has_ended_is_replaced_without_doubt(pipelining: bool, ending: Step) -> None:
    server = ScriptedSmtp(pipelining=pipelining)
    esp = smtp(server.port)
    esp.send(MESSAGE)

    def ends_once(sock: socket.socket) -> bool:
        server.script = {}
        return ending(sock)

    server.script = {"MAIL": ends_once}
    esp.send(MESSAGE)
    assert (server.connections, len(server.mails)) == (2, 2)
    server.close()


def test_a_session_that_the_server_closed_while_idle_is_replaced(scripted: ScriptedSmtp) -> None:
    esp = smtp(scripted.port)
    scripted.script = {"mail": ends_with(b"250 2.0.0 Ok: queued as LAST01\r\n")}
    assert esp.send(MESSAGE).provider_id == "LAST01"
    esp.send(MESSAGE)
    assert scripted.connections == 2


def test_a_session_ends_after_as_many_mails_as_servers_take(scripted: ScriptedSmtp) -> None:
    esp = smtp(scripted.port)
    for _ in range(MAX_MAILS + 1):
        esp.send(MESSAGE)
    assert scripted.connections == 2


def test_prepare_opens_what_the_mail_then_uses(server: RecordingServer, esp: Smtp) -> None:
    esp.prepare()
    esp.prepare()
    esp.send(MESSAGE)
    assert server.connections == 1


def test_a_refused_connection_is_tried_again() -> None:
    esp = smtp(free_ports(1)[0])
    with pytest.raises(EspError) as raised:
        esp.prepare()
    assert flags(raised.value) == RETRY
    assert flags(failure(esp)) == RETRY


def test_a_mail_that_cannot_be_rendered_is_refused_before_the_server_hears_of_it(
    esp: Smtp, server: RecordingServer
) -> None:
    def render() -> Content:
        raise EspError("template welcome.txt needs coupon", permanent=True)

    error = failure(esp, msgspec.structs.replace(MESSAGE, render=render))
    assert flags(error) == PERMANENT
    assert server.connections == 0


def test_debug_logging_prints_no_address_and_no_text(
    esp: Smtp, server: RecordingServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="freshgate")
    caplog.set_level(logging.DEBUG, logger="workers")
    esp.send(MESSAGE)
    assert MESSAGE.to not in "".join(r.getMessage() for r in caplog.records if not r.name.startswith("mail.log"))


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("host", {"host": ""}),
        ("live", {"host": "smtp.example.com"}),
        ("tls", {"host": "smtp.example.com", "live": True, "tls": "none"}),
        ("tls", {"host": "10.0.0.1", "live": True, "tls": "none"}),
        ("password", {"username": "shop"}),
        ("username", {"password": "secret"}),
        ("password", {"username": "shop", "password": "two\nlines"}),
        ("from_email", {"from_email": "shop@example.com\r\nBcc"}),
        ("from_email", {"from_email": "l\u00e4den@example.com"}),
        ("from_name", {"from_name": "Shop\r\nBcc: eve@example.com"}),
        ("dkim_selector", {"dkim_domain": "example.com"}),
        ("dkim_key_file", {"dkim_domain": "example.com", "dkim_selector": "s1", "dkim_key_file": "/nowhere"}),
        ("dkim_key_file", {"dkim_domain": "example.com", "dkim_selector": "s1", "dkim_key_file": __file__}),
    ],
)
def test_unsafe_settings_do_not_start_and_name_the_key(key: str, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=rf"^esps\.mail\.{key} "):
        smtp(25, **settings)


@pytest.mark.parametrize(("tls", "port"), [(None, 587), ("starttls", 587), ("implicit", 465)])
def test_the_port_follows_from_tls(tls: Any, port: int) -> None:
    esp = ESPS["smtp"]("mail", EspSettings(kind="smtp", base_url="", host="smtp.example.com", tls=tls, live=True))
    assert isinstance(esp, Smtp)
    assert esp._port == port
