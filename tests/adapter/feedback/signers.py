"""Signs feedback as the ESPs do, with keys of the tests' own."""

from __future__ import annotations

import base64
import datetime
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from adapter.feedback.base import FeedbackRequest

NOW = 1_760_000_000
SEND = "a1b2c3d4e5f60718293a4b5c"


class SendgridSigner:
    """An account's key pair."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.verification_key = base64.b64encode(public).decode()

    def headers(self, body: bytes, timestamp: int | str = NOW) -> dict[str, str]:
        signature = self._key.sign(str(timestamp).encode() + body, ec.ECDSA(SHA256()))
        return {
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": str(timestamp),
        }


def sendgrid_body(*events: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(events)


def mandrill(key: str, url: str, events: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers of Mailchimp Transactional's webhook."""
    text = msgspec.json.encode(events).decode()
    signed = f"{url}mandrill_events{text}".encode()
    signature = base64.b64encode(hmac.digest(key.encode(), signed, "sha1")).decode()
    return urlencode({"mandrill_events": text}).encode(), {"X-Mandrill-Signature": signature}


def standard_webhook(secret: str, body: bytes, timestamp: int = NOW, prefix: str = "svix-") -> dict[str, str]:
    """The headers of a Standard Webhook; `secret` is "whsec_" and base64."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.digest(key, f"msg_1.{timestamp}.".encode() + body, "sha256")).decode()
    return {
        f"{prefix}id": "msg_1",
        f"{prefix}timestamp": str(timestamp),
        f"{prefix}signature": f"v1,AAAA v1,{signature}",
    }


class SnsSigner:
    """SNS of one region, with a certificate that `fetch` hands out. `fetched` are the URLs that were asked for."""

    host = "sns.eu-west-1.amazonaws.com"
    certificate_url = f"https://{host}/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem"

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(65537, 2048)
        self.certificate = _certificate(self._key)
        self.fetched: list[str] = []

    def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        return self.certificate

    def message(self, fields: Mapping[str, str], version: str = "2") -> dict[str, str]:
        names = ["Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
        text = "".join(f"{name}\n{fields[name]}\n" for name in names if name in fields)
        algorithm = SHA256() if version == "2" else SHA1()
        signature = self._key.sign(text.encode(), padding.PKCS1v15(), algorithm)
        return {
            **fields,
            "SignatureVersion": version,
            "Signature": base64.b64encode(signature).decode(),
            "SigningCertURL": self.certificate_url,
        }


def _certificate(key: rsa.RSAPrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    start = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start.replace(year=2035))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def request(
    body: bytes, headers: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None, now: float = NOW
) -> FeedbackRequest:
    return FeedbackRequest(body, dict(headers or {}), dict(query or {}), now)
