"""Amazon SNS, which carries the feedback of SES: messages signed by a certificate that SNS names, and subscriptions.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import base64
import binascii
import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.x509 import load_pem_x509_certificate

from freshgate.errors import StoreUnavailable
from freshgate.outbound import Resolve, UrlError, connect, parse_networks, parse_url

# Of a region, such as us-gov-west-1: sns.s3.amazonaws.com is somebody's bucket.
HOST = re.compile(r"sns\.[a-z]{2}(-[a-z]{1,12}){1,3}-[0-9]{1,2}\.amazonaws\.com(\.cn)?")
CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[0-9a-f]{16,64}\.pem")
# Type of the message → the fields that are signed, in this order.
SIGNED_FIELDS: Mapping[str, tuple[str, ...]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
HASHES: Mapping[str, Callable[[], SHA1 | SHA256]] = {"1": SHA1, "2": SHA256}
FETCH_TIMEOUT_S = 3.0
MAX_FETCHED_BYTES = 64 * 1024
MAX_CERTIFICATES = 8
# A message has at most 256 KB on its way to HTTPS, whatever the topic allows (docs.aws.amazon.com, sns/latest/dg,
# large-message-payloads). As a text in the envelope each of its quotes takes two bytes; the other fields are short.
MAX_ENVELOPE_BYTES = (2 * 256 + 16) * 1024
# Strangers may name certificates that do not exist: SNS' own are fetched once a year.
FETCH_INTERVAL_S = 2.0

Fetch = Callable[[str], bytes]


def fetch(url: str, allow_networks: Iterable[str] = (), *, resolve: Resolve = socket.getaddrinfo) -> bytes:
    """GET of a URL of SNS; no redirect is followed. Raises StoreUnavailable, so that SNS tries again.

    The caller has checked the host. It leads to the public internet, or to a VPC's endpoint in `allow_networks`.
    """
    target = parse_url(url)
    connection = http.client.HTTPConnection(target.host, timeout=FETCH_TIMEOUT_S)
    try:
        raw = connect(target, FETCH_TIMEOUT_S, allowed=parse_networks(allow_networks), resolve=resolve)
        with raw, ssl.create_default_context().wrap_socket(raw, server_hostname=target.host) as secured:
            connection.sock = secured
            connection.request("GET", target.path)
            response = connection.getresponse()
            body = response.read(MAX_FETCHED_BYTES)
            status = response.status
    except (OSError, http.client.HTTPException) as error:
        raise StoreUnavailable(f"{target.host}: {type(error).__name__}") from None
    if status != http.client.OK:
        raise StoreUnavailable(f"{target.host}: answered {status}")
    return body


def is_url_of_sns(url: Any, path: re.Pattern[str] | None = None) -> bool:
    """Whether the URL is HTTPS at SNS itself, at its usual port, without user or password."""
    try:
        target = parse_url(url if isinstance(url, str) else "")
    except UrlError:
        return False
    return (
        target.scheme == "https"
        and HOST.fullmatch(target.authority) is not None
        and (path is None or path.fullmatch(target.path) is not None)
    )


class Certificates:
    """SNS' certificates by URL, fetched once. Thread-safe: one thread fetches, and no other waits for it."""

    def __init__(self, fetch: Fetch = fetch) -> None:
        self._fetch = fetch
        self._keys: dict[str, RSAPublicKey] = {}
        self._fetch_due = 0.0
        self._fetching = threading.Lock()

    def key(self, url: str) -> RSAPublicKey | None:
        """The public key, or None for what is no certificate. Raises StoreUnavailable where it cannot be fetched."""
        known = self._keys.get(url)
        if known:
            return known
        if time.monotonic() < self._fetch_due or not self._fetching.acquire(blocking=False):
            raise StoreUnavailable("SNS: certificates are fetched one by one")
        try:
            self._fetch_due = time.monotonic() + FETCH_INTERVAL_S
            key = load_pem_x509_certificate(self._fetch(url)).public_key()
        except ValueError:
            return None
        finally:
            self._fetching.release()
        if not isinstance(key, RSAPublicKey):
            return None
        if len(self._keys) >= MAX_CERTIFICATES:
            self._keys.clear()
        self._keys[url] = key
        return key


def is_signed(message: Mapping[str, Any], certificates: Certificates) -> bool:
    """Whether SNS signed the message. Raises StoreUnavailable where its certificate cannot be fetched."""
    fields = SIGNED_FIELDS.get(str(message.get("Type")))
    hash_type = HASHES.get(str(message.get("SignatureVersion")))
    url = message.get("SigningCertURL")
    if fields is None or hash_type is None or not is_url_of_sns(url, CERTIFICATE_PATH):
        return False
    try:
        signature = base64.b64decode(str(message.get("Signature") or ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    key = certificates.key(str(url))
    # A subject is signed where there is one.
    text = "".join(f"{name}\n{message[name]}\n" for name in fields if message.get(name) is not None)
    if key is None:
        return False
    try:
        key.verify(signature, text.encode("utf-8", "surrogatepass"), PKCS1v15(), hash_type())
    except InvalidSignature:
        return False
    return True
