"""Verifies that a body is from a Segment source: X-Signature over the raw bytes, and a token for batches.

`kinds.py` makes one Verifier a source; `salvage.py` finds where elements begin and end.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from adapter.sources.base import FORM_CONTENT_TYPE, Headers
from adapter.sources.reading.salvage import BYTE_ORDER_MARK, UnbalancedJson, elements
from adapter.sources.reading.static_header import Tokens, refuse_encoded
from freshgate.errors import NotAuthentic, UnsupportedBody
from freshgate.settings import SourceSettings
from freshgate.settings_parsing import setting_name

# A lone `json` key around an object: the signature is over the object (action-destinations, webhook-extensible/send).
WRAPPED = re.compile(rb'\{[ \t\r\n]*"json"[ \t\r\n]*:[ \t\r\n]*(?=\{)')
# Before the sender is verified: the size of a first element, of which Segment takes 32 KB, and brackets in one that is
# nested deeper than any event.
MAX_FIRST_BYTES, MAX_BRACKETS = 512 * 1024, 10_000


class BatchWithoutToken(NotAuthentic):
    """The signature is right, but it covers the first element of a batch only, and no token vouches for the rest."""

    kind = "batch_without_token"


class Verifier:
    """The secrets and tokens of one source. Several of each may be valid at once, so that they can be rotated."""

    def __init__(self, name: str, settings: SourceSettings) -> None:
        self._name = name
        self._keyed_hashes = [hmac.new(secret.encode(), digestmod="sha1") for secret in settings.secrets]
        self._tokens = Tokens(name, settings)
        self._secrets_key = setting_name("sources", name, "secrets")
        self._tokens_key = setting_name("sources", name, "tokens")

    def verify(self, body: bytes, headers: Headers) -> None:
        """Raise NotAuthentic unless the raw bytes are from this source; UnsupportedBody for what Segment never sends.

        One object: X-Signature is over the body. An array: over its first element, and with more elements (or
        none) a token must vouch for it in X-Freshgate-Token. Without secrets the token alone decides.
        Source: https://segment.com/docs/connections/destinations/catalog/actions-webhook/
        """
        if self._keyed_hashes:
            refuse_encoded(self._name, headers)
        content_type = headers.get("Content-Type")
        if content_type and content_type.lower().lstrip().startswith(FORM_CONTENT_TYPE):
            raise UnsupportedBody("content type not supported", f"{self._name}: set the webhook's Content-Type to JSON")
        vouched = self._tokens.vouched(headers)
        if not self._keyed_hashes:
            if not vouched:
                raise self._tokens.missing()
            return
        # A byte order mark is before what was signed, or it was signed along.
        plain = body.removeprefix(BYTE_ORDER_MARK)
        if plain[:1] != b"{" and plain.lstrip(b" \t\r\n")[:1] == b"[":
            self._verify_list(plain, headers.get("X-Signature"), vouched)
        elif not self._signed(body, headers.get("X-Signature")) and (
            plain is body or not self._signed(plain, headers.get("X-Signature"))
        ):
            raise self._bad_signature()

    def _signed(self, signed: bytes, signature: str | None) -> bool:
        # `compare_digest` raises on texts beyond ASCII. Segment sends lower-case hex, so upper case is refused.
        if not signature or not signature.isascii():
            return False
        matches = False
        for keyed_hash in self._keyed_hashes:
            digest = keyed_hash.copy()
            digest.update(signed)
            matches |= hmac.compare_digest(digest.hexdigest(), signature)
        return matches

    def _verify_list(self, body: bytes, signature: str | None, vouched: bool) -> None:
        try:
            first = next(elements(body[:MAX_FIRST_BYTES], MAX_BRACKETS), None)
        except UnbalancedJson:
            raise self._bad_signature() from None
        if first is None:
            # In an empty array no byte is signed.
            if not vouched:
                raise self._tokens.missing()
            return
        element = body[first.start : first.end]
        if not self._signed(element, signature) and not self._signed(_inner(element), signature):
            raise self._bad_signature()
        if not vouched and body[first.end :].strip(b" \t\r\n") != b"]":
            raise BatchWithoutToken(
                "signature rejected",
                f"{self._name}: X-Signature covers the first element of a batch only; send one of "
                f"{self._tokens_key} as the header X-Freshgate-Token, or switch batching off",
            )

    def _bad_signature(self) -> NotAuthentic:
        return NotAuthentic("signature rejected", f"{self._name}: bad signature, check {self._secrets_key}")


def _inner(element: bytes) -> bytes:
    """The object within `{"json": {...}}`, or the element itself where `json` is not its only key."""
    match = WRAPPED.match(element)
    if match is None:
        return element
    inner = element[match.end() :].removesuffix(b"}").rstrip(b" \t\r\n")
    try:
        # Bytes behind the one object would not be covered by the signature.
        return inner if [span.end for span in elements(inner, MAX_BRACKETS)] == [len(inner)] else element
    except UnbalancedJson:
        return element


def sign(secret: str, body: bytes) -> str:
    """Segment's X-Signature of these bytes. https://segment.com/docs/connections/destinations/catalog/actions-webhook/"""
    return hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()


def prove(secret: str, body: bytes) -> dict[str, str]:
    """The headers with which Segment sends a body: of an array its first element is signed."""
    return {"X-Signature": sign(secret, _signed_part(body))}


def _signed_part(body: bytes) -> bytes:
    if body.lstrip(b" \t\r\n")[:1] != b"[":
        return body
    try:
        first = next(elements(body), None)
    except UnbalancedJson:
        return body
    return body if first is None else body[first.start : first.end]
