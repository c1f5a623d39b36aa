"""Signatures of mails by SMTP: dkimpy verifies them, they cover the links to unsubscribe, and an altered mail fails.

`test_smtp_tools.py` has a second verifier, behind a real server.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from freshgate.errors import SettingsError
from freshgate.settings import EspSettings
from tests.workers.esp.smtp_servers import MESSAGE, RecordingServer
from tests.workers.esp.test_smtp import smtp
from workers.esp.smtp_dkim import Signer
from workers.esp.smtp_dkim import signer as signer_of

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


def dkim_signer(key: Key) -> Signer:
    signer = signer_of("mail", EspSettings(**key.settings()))  # type: ignore[arg-type]  # its texts
    assert signer
    return signer


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
        (b"\r\nFrom:", b"\r\nFrom: eve@example.com\r\nFrom:"),
        (b"\r\nSubject:", b"\r\nSubject: Another\r\nSubject:"),
    ],
)
def test_a_mail_altered_on_its_way_does_not_verify(signed: bytes, key: Key, old: bytes, new: bytes) -> None:
    assert old in signed
    assert not verifies(signed.replace(old, new, 1), key)


def test_whitespace_that_a_relay_rewrites_does_no_harm(signed: bytes, key: Key) -> None:
    assert verifies(signed.replace(b"Subject: Hello", b"Subject:    Hello"), key)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n",
        b"a\r\n",
        b"a",
        b" a \t b  \r\n\r\n\r\n",
        b"\t\r\na",
        b".\r\n..\r\n",
        b"x" * 5000,
        b"a\r\n \r\n\t\r\n",
    ],
)
@pytest.mark.parametrize(
    "head", [b"From: a@example.com", b"from:a@example.com\r\nSUBJECT:  x\r\n\ty\r\n z \r\nTo:b@example.com"]
)
def test_every_shape_of_a_mail_verifies(key: Key, head: bytes, body: bytes) -> None:
    mail = head + b"\r\n\r\n" + body
    signer = dkim_signer(key)
    assert verifies(signer.header(mail, 1_790_000_000) + mail, key)


@settings(deadline=None, max_examples=50)
@given(
    body=st.lists(st.text(alphabet="a \t.\u00fc", max_size=20), max_size=8), subject=st.text("a \t\u00fc", max_size=40)
)
def test_any_text_verifies(key: Key, body: list[str], subject: str) -> None:
    mail = (
        f"From: a@example.com\r\nSubject: {subject}\r\n\r\n".encode() + "".join(f"{line}\r\n" for line in body).encode()
    )
    assert verifies(dkim_signer(key).header(mail, 1_790_000_000) + mail, key)


def test_an_ed25519_key_signs_too(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    file = tmp_path / "key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    account = EspSettings(dkim_domain=DOMAIN, dkim_selector=SELECTOR, dkim_key_file=str(file))
    signer = signer_of("mail", account)
    assert signer
    mail = b"From: a@example.com\r\n\r\nx\r\n"
    header = signer.header(mail, 1_790_000_000)
    assert b"a=ed25519-sha256" in header
    # As RFC 8463 has it: over the hash of the header, which dkimpy needs another library for.
    unsigned, _, signature = header.partition(b"\tb=")
    text = b"from:a@example.com\r\n" + re.sub(rb"\s+", b" ", unsigned + b"\tb=").replace(
        b"DKIM-Signature: ", b"dkim-signature:"
    )
    key.public_key().verify(base64.b64decode(re.sub(rb"\s", b"", signature)), hashlib.sha256(text.strip()).digest())


@pytest.mark.parametrize("broken", ["short", "empty", "public", "password"])
def test_a_key_that_cannot_sign_does_not_start(tmp_path: Path, broken: str) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file = tmp_path / "key.pem"
    secret = BestAvailableEncryption(b"x") if broken == "password" else NoEncryption()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    file.write_bytes({"short": pem[:200], "empty": b"", "public": public, "password": pem}[broken])
    account = EspSettings(dkim_domain=DOMAIN, dkim_selector=SELECTOR, dkim_key_file=str(file))
    with pytest.raises(SettingsError, match=r"^esps\.mail\.dkim_key_file .* not a private key"):
        signer_of("mail", account)


def test_without_a_domain_nothing_is_signed() -> None:
    server = RecordingServer()
    smtp(server.port).send(MESSAGE)
    server.close()
    assert b"DKIM-Signature" not in (server.mails[0].content or b"")
