"""The headers with which each kind of CDP proves a body: what the source of the settings will believe.

`replay.py` sends them. A kind that is not named here has a static header.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable

from adapter.sources.reading.salvage import UnbalancedJson, elements
from adapter.sources.segment.signature import sign
from freshgate.errors import SettingsError
from freshgate.settings import SourceSettings


def proof(name: str, source: SourceSettings, body: bytes) -> dict[str, str]:
    """Authentication of one body, as that source's CDP sends it. Raises SettingsError without any secret."""
    headers = {"X-Freshgate-Token": source.tokens[0]} if source.tokens else {}
    secrets = getattr(source, "write_keys", ()) or source.secrets
    if secrets:
        return {**PROOFS.get(source.kind, _static)(secrets[0], body), **headers}
    if not headers:
        raise SettingsError(f"sources.{name} has neither secrets nor tokens here, so nothing can be signed")
    return headers


def _static(secret: str, body: bytes) -> dict[str, str]:
    return {"Authorization": secret}


def _hmac_sha1(secret: str, body: bytes) -> dict[str, str]:
    return {"X-Signature": sign(secret, _signed(body))}


def _basic(secret: str, body: bytes) -> dict[str, str]:
    """A write key is the user of an empty password."""
    return {"Authorization": "Basic " + base64.b64encode(f"{secret}:".encode()).decode()}


def _reporting(secret: str, body: bytes) -> dict[str, str]:
    """Customer.io's reporting webhooks: https://docs.customer.io/api/webhooks"""
    now = str(int(time.time()))
    digest = hmac.new(secret.encode(), f"v0:{now}:".encode() + body, hashlib.sha256).hexdigest()
    return {"X-CIO-Timestamp": now, "X-CIO-Signature": digest}


PROOFS: dict[str, Callable[[str, bytes], dict[str, str]]] = {
    "segment": _hmac_sha1,
    "customerio": _hmac_sha1,
    "customerio_reporting": _reporting,
    "tracking": _basic,
}


def _signed(body: bytes) -> bytes:
    """What Segment signs: the body, or of an array its first element (adapter/sources/segment/signature.py)."""
    if body.lstrip(b" \t\r\n")[:1] != b"[":
        return body
    try:
        first = next(elements(body), None)
    except UnbalancedJson:
        return body
    return body if first is None else body[first.start : first.end]
