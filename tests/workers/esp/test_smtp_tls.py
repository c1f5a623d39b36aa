"""SMTP over TLS: a right certificate gets mails and password, a wrong one gets neither; and logging in."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from freshgate.errors import EspError
from tests.workers.esp.smtp_servers import MESSAGE, RecordingServer, ScriptedSmtp
from tests.workers.esp.test_smtp import BLOCKED, RETRY, flags, smtp
from tests.workers.esp.test_tls import certificate
from workers.esp.smtp import Smtp

LOGIN = ("shop", "p\u00e4ssword")
Start = Callable[..., RecordingServer]


@pytest.fixture
def start() -> Iterator[Start]:
    servers: list[RecordingServer] = []

    def call(**options: Any) -> RecordingServer:
        servers.append(RecordingServer(**options))
        return servers[-1]

    yield call
    for server in servers:
        server.close()


def server_context(file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def account(port: int, **settings: Any) -> Smtp:
    return smtp(port, username=LOGIN[0], password=LOGIN[1], **settings)


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_trusted_server_gets_mails_over_one_session(
    start: Start, tls: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    server = start(context=server_context(file), implicit=tls == "implicit", login=LOGIN)
    esp = account(server.port, tls=tls)
    for _ in range(3):
        esp.send(MESSAGE)
    esp.close()
    assert (server.connections, len(server.mails)) == (1, 3)
    assert server.commands.count("AUTH PLAIN") == 1


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
@pytest.mark.parametrize(
    ("host", "days", "trusted"), [("127.0.0.1", 1, False), ("other.example", 1, True), ("127.0.0.1", -1, True)]
)
def test_a_server_with_a_wrong_certificate_gets_neither_password_nor_mail(
    start: Start, tls: str, host: str, days: int, trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate(tmp_path, host, days)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    server = start(context=server_context(file), implicit=tls == "implicit", login=LOGIN)
    with pytest.raises(EspError, match="not sent: SSLCertVerificationError") as raised:
        account(server.port, tls=tls).send(MESSAGE)
    assert flags(raised.value) == RETRY
    assert server.mails == []
    assert "AUTH PLAIN" not in server.commands


def test_without_starttls_nothing_leaves_in_the_clear(start: Start) -> None:
    server = start(login=LOGIN)
    with pytest.raises(EspError, match="offers no STARTTLS") as raised:
        account(server.port, tls="starttls").send(MESSAGE)
    assert flags(raised.value) == BLOCKED
    assert [line for line in server.commands if not line.startswith("EHLO")] == []


def test_what_a_stranger_slips_in_before_the_handshake_is_not_believed() -> None:
    server = ScriptedSmtp()
    server.script = {
        "EHLO": b"250-test\r\n250 STARTTLS\r\n",
        "STAR": b"220 go on\r\n250-test\r\n250 AUTH PLAIN\r\n",
    }
    with pytest.raises(EspError, match="not sent: Broken") as raised:
        account(server.port, tls="starttls").send(MESSAGE)
    assert flags(raised.value) == RETRY
    server.close()


def test_a_wrong_password_blocks_the_account_and_is_not_quoted(start: Start) -> None:
    server = start(login=LOGIN)
    with pytest.raises(EspError) as raised:
        smtp(server.port, username="shop", password="wrong-password").prepare()
    assert flags(raised.value) == BLOCKED
    assert raised.value.status == 535
    assert "wrong-password" not in str(raised.value)


def test_a_server_that_only_knows_login_gets_it() -> None:
    server = ScriptedSmtp()
    server.script = {
        "EHLO": b"250-test\r\n250 AUTH LOGIN\r\n",
        "AUTH": b"334 VXNlcm5hbWU6\r\n",
        # The beginnings of the two lines with name and password.
        base64.b64encode(LOGIN[0].encode())[:4].decode().upper(): b"334 UGFzc3dvcmQ6\r\n",
        base64.b64encode(LOGIN[1].encode())[:4].decode().upper(): b"235 OK\r\n",
    }
    account(server.port).send(MESSAGE)
    server.close()
    assert len(server.mails) == 1
