"""Verifies the requests of Segment's SDKs by their write key.

`tracking.py` reads them.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from adapter.sources.base import Headers
from adapter.sources.reading.salvage import DECODE_ERRORS, decode_leniently, elements, members
from adapter.sources.reading.static_header import Tokens, header_bytes, matches_any
from freshgate.errors import NotAuthentic, SettingsError
from freshgate.settings import SourceSettings
from freshgate.settings_parsing import setting_name

# Brackets within one member, before we know who sent the body.
MAX_BRACKETS = 100_000


class _KeyedBody(msgspec.Struct, gc=False):
    writeKey: Any = None  # noqa: N815  # the member's name


class WriteKeys:
    """The write keys of one source, sent as Basic's user name or in the body, and compared in constant time."""

    def __init__(self, name: str, settings: SourceSettings) -> None:
        self._name = name
        self._keys = [key.encode() for key in settings.write_keys]
        self._tokens = Tokens(name, settings)
        self._key = setting_name("sources", name, "write_keys")
        self._decode = msgspec.json.Decoder(_KeyedBody).decode
        if not self._keys:
            raise SettingsError(
                f"{self._key}: without a key no request can be verified; write the one that the SDK uses"
            )

    def verify(self, body: bytes, headers: Headers) -> None:
        """Raise NotAuthentic unless the request has one of the keys, and a token where tokens are set.

        analytics-python has the key in the body only, with OAuth too; analytics-node has it in both places.
        """
        basic_user = _basic_user(headers.get("Authorization") or "")
        if not matches_any(self._key_in_body(body) if basic_user is None else basic_user, self._keys):
            raise NotAuthentic("write key rejected", f"{self._name}: the write key is not one of {self._key}")
        if self._tokens and not self._tokens.vouched(headers):
            raise self._tokens.missing()

    def _key_in_body(self, body: bytes) -> str:
        try:
            key = self._decode(body).writeKey
        except DECODE_ERRORS:
            key = _salvaged_key(body)
        return key if type(key) is str else ""


def _salvaged_key(body: bytes) -> Any:
    try:
        # Bounded, since the sender is not verified yet.
        next(elements(body, MAX_BRACKETS), None)
        return next((decode_leniently(value) for name, value, _ in members(body.strip()) if name == "writeKey"), None)
    except (ValueError, RecursionError):
        return None


def _basic_user(authorization: str) -> str | None:
    """Basic's user name; None for other schemes. The colon may be missing (docs, http-api, "authentication")."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user = base64.b64decode(header_bytes(credentials.strip()), validate=True).partition(b":")[0]
    except (binascii.Error, ValueError):
        return ""
    # Decoded as WSGI decodes a header, so that it compares equal to the key's bytes.
    return user.decode("latin-1")
