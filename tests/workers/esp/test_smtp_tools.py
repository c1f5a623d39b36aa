"""Mails through a real Postfix; signatures and links read by somebody else's programs, mailauth and mailparser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from freshgate.errors import EspError
from tests.harness.npm import installed
from tests.workers.esp.postfix import REFUSALS, SPAM, Postfix, require_postfix
from tests.workers.esp.smtp_servers import CONTENT, MESSAGE, RecordingServer
from tests.workers.esp.test_smtp import BLOCKED, PERMANENT, RETRY, flags, smtp
from tests.workers.esp.test_smtp_dkim import DOMAIN, SELECTOR, Key
from tests.workers.esp.test_tls import certificate
from workers.esp.smtp import Smtp

pytestmark = pytest.mark.tools
SCRIPT = Path(__file__).with_name("verify_mail.mjs")
Read = Callable[[bytes, Key], Any]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("dkim"))


@pytest.fixture(scope="module")
def behind() -> Iterator[RecordingServer]:
    """The server to which Postfix relays."""
    server = RecordingServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def postfix(behind: RecordingServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postfix]:
    require_postfix()
    file = certificate(tmp_path_factory.mktemp("tls"), "127.0.0.1")
    with pytest.MonkeyPatch.context() as patch, Postfix(file, behind.port) as postfix:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield postfix


@pytest.fixture
def esp(postfix: Postfix, key: Key) -> Iterator[Smtp]:
    esp = smtp(postfix.port, tls="starttls", from_name="The Shop", timeout_s=10, **key.settings())
    yield esp
    esp.close()


@pytest.fixture(scope="module")
def read() -> Read:
    """What mailauth and mailparser say of a mail."""
    installed("mailparser@3.14.2")
    modules = installed("mailauth@7.1.0")

    def call(raw: bytes, key: Key) -> Any:
        environ = {**os.environ, "NODE_MODULES": str(modules)}
        command = ["node", str(SCRIPT), key.record]
        done = subprocess.run(command, input=raw, env=environ, capture_output=True, check=True, timeout=60)
        return json.loads(done.stdout)

    return call


def relayed(behind: RecordingServer, postfix: Postfix, count: int) -> bytes:
    """The newest mail that Postfix handed on."""
    deadline = time.monotonic() + 30
    while len(behind.mails) < count:
        assert time.monotonic() < deadline, postfix.log()
        time.sleep(0.05)
    raw = behind.mails[-1].content
    assert isinstance(raw, bytes)
    return raw


def test_a_signed_mail_survives_postfix_and_verifies_with_its_links(
    esp: Smtp, behind: RecordingServer, postfix: Postfix, key: Key, read: Read
) -> None:
    count = len(behind.mails)
    result = esp.send(MESSAGE)
    assert result.provider_id and result.status == 250
    raw = relayed(behind, postfix, count + 1)
    assert result.provider_id in postfix.log()
    report = read(raw, key)
    (signature,) = report["results"]
    assert (signature["result"], signature["domain"]) == ("pass", DOMAIN)
    assert report["names"] == [f"{SELECTOR}._domainkey.{DOMAIN}"]
    covered = {name.strip().lower() for name in signature["headers"].split(":")}
    assert {"from", "to", "subject", "message-id", "list-unsubscribe", "list-unsubscribe-post"} <= covered
    url = MESSAGE.headers["List-Unsubscribe"].strip("<>")
    assert report["list"]["unsubscribe"]["url"] == url
    assert report["list"]["unsubscribe-post"]["name"] == "List-Unsubscribe=One-Click"
    assert report["subject"] == CONTENT.subject
    assert report["from"] == '"The Shop" <shop@example.com>'
    assert report["messageId"] == f"<{MESSAGE.send_id}@example.com>"
    assert report["text"].strip() == CONTENT.text.strip()
    assert report["html"].strip() == CONTENT.html


def test_an_altered_mail_fails_with_another_verifier_too(
    esp: Smtp, behind: RecordingServer, postfix: Postfix, key: Key, read: Read
) -> None:
    count = len(behind.mails)
    esp.send(MESSAGE)
    raw = relayed(behind, postfix, count + 1)
    for old, new in ((b"unsubscribe/tt", b"unsubscribe/xx"), (b"Hello", b"Hullo")):
        assert old in raw
        assert read(raw.replace(old, new, 1), key)["results"][0]["result"] != "pass"


@pytest.mark.parametrize(
    ("to", "expected"),
    [("gone@example.com", PERMANENT), ("later@example.com", RETRY), ("elsewhere@example.com", BLOCKED)],
)
def test_its_refusals_mean_what_they_say(esp: Smtp, to: str, expected: tuple[bool, ...]) -> None:
    with pytest.raises(EspError) as raised:
        esp.send(msgspec.structs.replace(MESSAGE, to=to))
    assert flags(raised.value) == expected
    assert REFUSALS[to][:9] in str(raised.value)
    assert to not in str(raised.value)


def test_its_filters_refuse_one_recipient_or_one_mail_and_never_the_account(esp: Smtp) -> None:
    spam = msgspec.structs.replace(CONTENT, subject=f"{SPAM}!")
    for change, words in (
        ({"to": "denied@example.com"}, "554 5.7.1 <<address>>: Recipient address rejected: Access denied"),
        ({"render": lambda: spam}, "550 5.7.1 no such offers (mail)"),
    ):
        with pytest.raises(EspError, match=re.escape(words)) as raised:
            esp.send(msgspec.structs.replace(MESSAGE, **change))
        assert flags(raised.value) == PERMANENT
    esp.send(MESSAGE)


def test_many_mails_leave_over_one_session(esp: Smtp, behind: RecordingServer, postfix: Postfix) -> None:
    count = len(behind.mails)
    connects = postfix.log().count(": connect from")
    for _ in range(20):
        esp.send(MESSAGE)
    relayed(behind, postfix, count + 20)
    assert postfix.log().count(": connect from") - connects == 1


def test_an_address_beyond_ascii_passes(esp: Smtp, behind: RecordingServer, postfix: Postfix) -> None:
    count = len(behind.mails)
    esp.send(msgspec.structs.replace(MESSAGE, to="\u00e4da@example.com"))
    relayed(behind, postfix, count + 1)
    assert behind.mails[-1].rcpt_tos == ["\u00e4da@example.com"]


def test_without_tls_it_takes_nothing(postfix: Postfix) -> None:
    with pytest.raises(EspError) as raised:
        smtp(postfix.port, tls="none").send(MESSAGE)
    assert flags(raised.value) == BLOCKED
