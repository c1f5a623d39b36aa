"""Verifies the requests of Segment's SDKs by their write key.

`tracking.py` reads them.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import msgspec

from adapter.sources.base import Headers
from adapter.sources.reading.salvage import DECODE_ERRORS
from adapter.sources.reading.static_header import Tokens, header_bytes, matches_any
from freshgate.errors import NotAuthentic, SettingsError
from freshgate.settings import SourceSettings
from freshgate.settings_parsing import setting_name

# Of a body that is not quite JSON: the places that are looked at for its key, before anybody is verified.
MAX_KEY_PLACES = 16
MEMBER_OF_KEY = b'"writeKey"'
KEY_VALUE = re.compile(rb'[ \t\r\n]{0,16}:[ \t\r\n]{0,16}"([^"\\]{1,256})"')
REGION_KEY = re.compile(r"(?:pk|sk)_(?:us|eu)_")


class _KeyedBody(msgspec.Struct, gc=False):
    writeKey: Any = None  # noqa: N815  # the member's name


_decode_keyed = msgspec.json.Decoder(_KeyedBody).decode


class WriteKeys:
    """The write keys of one source, sent as Basic's user name or in the body, and compared in constant time."""

    def __init__(self, name: str, settings: SourceSettings) -> None:
        self._name = name
        self._keys = [key.encode() for key in settings.write_keys]
        self._tokens = Tokens(name, settings)
        self._key = setting_name("sources", name, "write_keys")
        if not self._keys:
            raise SettingsError(
                f"{self._key}: without a key no request can be verified; write the one that the SDK uses"
            )

    def verify(self, body: bytes, headers: Headers) -> None:
        """Raise NotAuthentic unless the request has one of the keys, and a token where tokens are set.

        analytics-python has the key in the body only, with OAuth too; analytics-node has it in both places.
        """
        if not self.knows(sent_key(body, headers)):
            raise NotAuthentic("write key rejected", f"{self._name}: the write key is not one of {self._key}")
        if self._tokens and not self._tokens.vouched(headers):
            raise self._tokens.missing()

    def knows(self, key: str) -> bool:
        """Whether the key is one of this source's."""
        return matches_any(key, self._keys)


def sent_key(body: bytes, headers: Headers) -> str:
    """The write key that a request carries; empty without one."""
    basic_user = key_in_header(headers)
    return _key_in_body(body) if basic_user is None else basic_user


def _key_in_body(body: bytes) -> str:
    try:
        key = _decode_keyed(body).writeKey
    except DECODE_ERRORS:
        key = _search_key(body)
    return key if type(key) is str else ""


def _search_key(body: bytes) -> str:
    """The key of a body that is not quite JSON, such as one with a NaN, found without parsing: nobody is verified yet.

    A text within a value cannot look like a member, since its quotes are escaped. Of different keys none is believed.
    """
    values: set[str] = set()
    at = -1
    for _ in range(MAX_KEY_PLACES):
        at = body.find(MEMBER_OF_KEY, at + 1)
        if at < 0:
            return values.pop() if len(values) == 1 else ""
        value = KEY_VALUE.match(body, at + len(MEMBER_OF_KEY))
        if value is not None:
            values.add(value[1].decode("utf-8", "replace"))
    return ""


def key_in_header(headers: Headers) -> str | None:
    """The key that a header has; None where the body must have it.

    It is Basic's user name; the colon may be missing (docs, http-api, "authentication"). Customer.io's SDKs send a key
    that says its region as a Bearer token (customerio-cdp-analytics, request.py); other tokens are OAuth's.
    """
    scheme, _, credentials = (headers.get("Authorization") or "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip() if REGION_KEY.match(credentials.strip()) else None
    if scheme.lower() != "basic":
        return None
    try:
        user = base64.b64decode(header_bytes(credentials.strip()), validate=True).partition(b":")[0]
    except (binascii.Error, ValueError):
        return ""
    # Decoded as WSGI decodes a header, so that it compares equal to the key's bytes.
    return user.decode("latin-1")
