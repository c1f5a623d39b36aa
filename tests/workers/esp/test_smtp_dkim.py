"""Signatures of mails by SMTP: they verify, they cover the links to unsubscribe, and an altered mail fails.

`test_smtp_tools.py` has them checked by somebody else's verifier.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.workers.esp.smtp_servers import MESSAGE, RecordingServer
from tests.workers.esp.test_smtp import smtp

SELECTOR, DOMAIN = "s1", "example.com"


class Key:
    """A key in a file, and its DNS record."""

    def __init__(self, folder: Path) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
        self.file = folder / "dkim.pem"
        self.file.write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
        public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
        self.record = "v=DKIM1; k=rsa; p=" + "".join(public.splitlines()[1:-1])

    def settings(self) -> dict[str, str]:
        return {"dkim_domain": DOMAIN, "dkim_selector": SELECTOR, "dkim_key_file": str(self.file)}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("dkim"))


@pytest.fixture
def signed(key: Key) -> Iterator[bytes]:
    """A mail as a server got it."""
    server = RecordingServer()
    esp = smtp(server.port, **key.settings())
    esp.send(MESSAGE)
    esp.close()
    server.close()
    raw = server.mails[0].content
    assert isinstance(raw, bytes)
    yield raw


def verifies(raw: bytes, key: Key) -> bool:
    asked = []

    def record(name: bytes, timeout: int = 5) -> bytes:
        asked.append(name)
        return key.record.encode()

    verified = dkim.verify(raw, dnsfunc=record)
    assert asked == [f"{SELECTOR}._domainkey.{DOMAIN}.".encode()]
    return bool(verified)


def test_a_signed_mail_verifies(signed: bytes, key: Key) -> None:
    assert signed.startswith(b"DKIM-Signature: ")
    assert verifies(signed, key)


def test_the_signature_covers_sender_recipient_and_both_headers_of_unsubscribing(signed: bytes) -> None:
    head = re.sub(rb"\s+", b"", signed.partition(b"\r\nFrom:")[0])
    covered = re.search(rb";h=([^;]+);", head)
    assert covered
    names = {name.lower() for name in covered[1].split(b":")}
    assert {b"from", b"to", b"subject", b"date", b"message-id", b"list-unsubscribe", b"list-unsubscribe-post"} <= names
    assert b"c=relaxed/relaxed" in head


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"unsubscribe/t", b"unsubscribe/x"),
        (b"List-Unsubscribe=One-Click", b"List-Unsubscribe=Two-Click"),
        (b"To: ada@", b"To: eve@"),
        (b"Hello", b"Hullo"),
    ],
)
def test_a_mail_altered_on_its_way_does_not_verify(signed: bytes, key: Key, old: bytes, new: bytes) -> None:
    assert old in signed
    assert not verifies(signed.replace(old, new, 1), key)


def test_whitespace_that_a_relay_rewrites_does_no_harm(signed: bytes, key: Key) -> None:
    assert verifies(signed.replace(b"Subject: Hello", b"Subject:    Hello"), key)


def test_without_a_domain_nothing_is_signed() -> None:
    server = RecordingServer()
    smtp(server.port).send(MESSAGE)
    server.close()
    assert b"DKIM-Signature" not in (server.mails[0].content or b"")
