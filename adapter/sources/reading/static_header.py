"""Static headers, compared in constant time: `Authorization` where a CDP signs nothing, and the token of a source.

`tokens` in X-Freshgate-Token are a second factor for any kind; `signature.py` asks for it with half-signed batches.
"""

from __future__ import annotations

import hmac

from adapter.sources.base import Headers
from freshgate.errors import NotAuthentic, SettingsError
from freshgate.settings import SourceSettings
from freshgate.settings_parsing import setting_name


class Tokens:
    """The tokens of one source. Several may be valid at once, so that they can be changed."""

    def __init__(self, name: str, settings: SourceSettings) -> None:
        self._name = name
        self._tokens = [token.encode() for token in settings.tokens]
        self._key = setting_name("sources", name, "tokens")

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def vouched(self, headers: Headers) -> bool:
        """Whether a right token was sent; a wrong one is never passed over."""
        sent = headers.get("X-Freshgate-Token")
        if sent is None or not self._tokens:
            return False
        if not matches_any(sent, self._tokens):
            raise self.missing()
        return True

    def missing(self) -> NotAuthentic:
        """The fault of a request that no token vouches for."""
        return NotAuthentic("signature rejected", f"{self._name}: X-Freshgate-Token is not one of {self._key}")


class HeaderVerifier:
    """For kinds whose only authentication is a static header: `secrets` are whole `Authorization` values.

    Of secrets and tokens at least one must be set; each that is set must match.
    """

    def __init__(self, name: str, settings: SourceSettings, advice: str) -> None:
        """`advice`: where the operator finds or sets the value at that CDP."""
        self._name = name
        self._secrets = [secret.encode() for secret in settings.secrets]
        self._tokens = Tokens(name, settings)
        self._key = setting_name("sources", name, "secrets")
        if not self._secrets and not self._tokens:
            raise SettingsError(f"{self._key}: without a secret nobody can be believed; {advice}")

    def verify(self, body: bytes, headers: Headers) -> None:
        """Raise NotAuthentic unless the request carries each header that is configured. The body is not signed."""
        if self._secrets and not matches_any(headers.get("Authorization") or "", self._secrets):
            raise NotAuthentic("signature rejected", f"{self._name}: Authorization is not one of {self._key}")
        if self._tokens and not self._tokens.vouched(headers):
            raise self._tokens.missing()


def matches_any(sent: str, ours: list[bytes]) -> bool:
    """Whether the header's value is one of ours; takes the same time wherever they differ."""
    given = header_bytes(sent)
    right = False
    for one in ours:
        right |= hmac.compare_digest(one, given)
    return right


def header_bytes(sent: str) -> bytes:
    """What was on the wire: WSGI hands header bytes over as Latin-1 text."""
    try:
        return sent.encode("latin-1")
    except UnicodeEncodeError:
        return sent.encode("utf-8", "surrogatepass")
