"""Verifies static headers, in constant time: `Authorization` of CDPs that sign nothing, and a source's token.

A token in X-Freshgate-Token is a second factor for any kind; `segment/signature.py` asks for it with batches.
"""

from __future__ import annotations

import hmac

from adapter.sources.base import Headers
from freshgate.errors import NotAuthentic, SettingsError, UnsupportedBody
from freshgate.settings import SourceSettings
from freshgate.settings_parsing import setting_name


class Tokens:
    """The tokens of one source. Several may be valid at once, so that they can be rotated."""

    def __init__(self, name: str, settings: SourceSettings) -> None:
        self._name = name
        self._tokens = [token.encode() for token in settings.tokens]
        self._key = setting_name("sources", name, "tokens")

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def vouched(self, headers: Headers) -> bool:
        """Whether a right token was sent. Raises NotAuthentic for a wrong one."""
        sent = headers.get("X-Freshgate-Token")
        if sent is None or not self._tokens:
            return False
        if not matches_any(sent, self._tokens):
            raise self.missing()
        return True

    def missing(self) -> NotAuthentic:
        """The error of a request that no token vouches for."""
        return NotAuthentic("signature rejected", f"{self._name}: X-Freshgate-Token is not one of {self._key}")


class HeaderVerifier:
    """Verifies a source by static headers alone: `secrets` are whole values of one header.

    At least one of secrets and tokens must be set; each that is set must match.
    """

    def __init__(self, name: str, settings: SourceSettings, advice: str, header: str = "Authorization") -> None:
        """`advice`: where the operator finds or sets the value at that CDP. `header`: the one that it sends."""
        self._name = name
        self._header = header
        self._secrets = [secret.encode() for secret in settings.secrets]
        self._tokens = Tokens(name, settings)
        self._key = setting_name("sources", name, "secrets")
        if not self._secrets and not self._tokens:
            raise SettingsError(f"{self._key}: without a secret no request can be verified; {advice}")

    def verify(self, body: bytes, headers: Headers) -> None:
        """Raise NotAuthentic unless the request carries each header that is configured. The body is not signed."""
        if self._secrets and not matches_any(headers.get(self._header) or "", self._secrets):
            raise NotAuthentic("signature rejected", f"{self._name}: {self._header} is not one of {self._key}")
        if self._tokens and not self._tokens.vouched(headers):
            raise self._tokens.missing()


def refuse_encoded(name: str, headers: Headers) -> None:
    """Raise UnsupportedBody for an encoded body, where a signature is over the plain bytes."""
    encoding = headers.get("Content-Encoding")
    if encoding and encoding.strip().lower() != "identity":
        raise UnsupportedBody("content encoding not supported", f"{name}: the signature is over plain bytes")


def matches_any(sent: str, secrets: list[bytes]) -> bool:
    """Whether the header's value is one of the secrets; takes the same time wherever they differ."""
    value = header_bytes(sent)
    matches = False
    for secret in secrets:
        matches |= hmac.compare_digest(secret, value)
    return matches


def header_bytes(sent: str) -> bytes:
    """The header's bytes on the wire: WSGI hands them over as Latin-1 text."""
    try:
        return sent.encode("latin-1")
    except UnicodeEncodeError:
        return sent.encode("utf-8", "surrogatepass")
