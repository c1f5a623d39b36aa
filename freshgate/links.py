"""Links by which a reader unsubscribes: sealed, so that they reveal nothing and nobody can make one up.

Workers put them into mails (`workers/messages.py`), the receiver opens them (`adapter/ingest/unsubscribe.py`).
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping, Sequence

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from freshgate.declare import DAY
from freshgate.errors import FreshgateError

# A mail lies in a mailbox for long. Longer than a year after the event, and its link is of no use.
TTL_MS = 365 * DAY
PATH = "/unsubscribe/"
# With it, one key is never used for two things.
PURPOSE = b"freshgate unsubscribe link 1"
TOKEN = re.compile(r"[A-Za-z0-9_-]{64,400}")
TIME_BYTES = 6


class LinkError(FreshgateError):
    """The token was not made by us, or has expired."""

    def __init__(self, text: str, *, expired: bool = False) -> None:
        super().__init__(text)
        self.expired = expired


class LinkToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a link says: of which send it was, whose address gets no more mail, and until when it holds (ms UTC).

    address  the address' id (`keys.address_id`), never the address
    topic    the topic of the mail's trigger
    """

    shop: str
    address: str
    send_id: str
    topic: str
    expires_at: int


class LinkTokens:
    """Seals and opens tokens by AES-SIV (RFC 5297): the same send has the same token, whoever makes it.

    secrets  the first seals, all open; so a new one is put before the old one. The key that is derived from `pii_key`
             opens too, and seals where there is no secret
    """

    def __init__(self, pii_key: bytes, secrets: Sequence[str] = ()) -> None:
        keys = [*(secret.encode() for secret in secrets), pii_key]
        self._ciphers = [AESSIV(hmac.digest(key, PURPOSE, "sha512")) for key in keys]

    def seal(self, token: LinkToken) -> str:
        """A text for a URL."""
        text = f"{token.address} {token.send_id} {token.topic} {token.shop}"
        plain = token.expires_at.to_bytes(TIME_BYTES, "big") + text.encode()
        sealed = self._ciphers[0].encrypt(plain, [PURPOSE])
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, text: str, now_ms: int) -> LinkToken:
        """What the token says. Raises LinkError for one that we did not make, and `expired` for one that is too old."""
        if not TOKEN.fullmatch(text):
            raise LinkError("not a token")
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            raise LinkError("not a token") from None
        for cipher in self._ciphers:
            try:
                token = _parse(cipher.decrypt(sealed, [PURPOSE]))
            except InvalidTag:
                continue
            if token.expires_at < now_ms:
                raise LinkError("expired", expired=True)
            return token
        raise LinkError("not a token of ours")


class Links:
    """The links of one installation. `public_url` is where readers reach the receiver, without a slash at its end."""

    def __init__(self, tokens: LinkTokens, public_url: str) -> None:
        self._tokens = tokens
        self._public_url = public_url.rstrip("/")

    def url(self, token: LinkToken) -> str:
        return f"{self._public_url}{PATH}{self._tokens.seal(token)}"


def unsubscribe_headers(url: str) -> Mapping[str, str]:
    """The headers by which a mailbox shows its own button to unsubscribe: RFC 8058."""
    return {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def _parse(plain: bytes) -> LinkToken:
    # A shop's name may hold a space; nothing before it does.
    address, send_id, topic, shop = plain[TIME_BYTES:].decode().split(" ", 3)
    expires_at = int.from_bytes(plain[:TIME_BYTES], "big")
    return LinkToken(shop=shop, address=address, send_id=send_id, topic=topic, expires_at=expires_at)
