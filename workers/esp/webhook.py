"""Any webhook: the mail as JSON, signed as Standard Webhooks says, so that the receiver can prove that it is ours.

`hook.py` holds what all hooks share. The standard: standardwebhooks.com, its spec/standard-webhooks.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from freshgate.errors import SettingsError
from freshgate.settings import EspSettings
from freshgate.settings_parsing import setting_name
from workers.esp.base import Message
from workers.esp.capabilities import Capabilities
from workers.esp.hook import Hook

PREFIX = "whsec_"
# The standard asks for 24 to 64 bytes.
MIN_SECRET_BYTES = 24


class Webhook(Hook):
    """One URL of the shop's own. Raises SettingsError."""

    capabilities = Capabilities(
        accepts="what the receiver means by it",
        templates="receiver",
        send_id="header `webhook-id`, the same for each try; `freshgate_send` in the body",
        live_url="https://mail.example.com/freshgate",
    )
    kind = "webhook"

    def __init__(self, name: str, settings: EspSettings) -> None:
        setting = setting_name("esps", name, "signing_secret")
        self._keys = signing_keys(setting, settings.signing_secret, live=settings.live)
        super().__init__(name, settings, secrets=settings.signing_secret.split())

    def headers(self, message: Message, body: bytes) -> Mapping[str, str]:
        return signed_headers(self._keys, message.send_id, self.now_s(), body)


def signed_headers(keys: Sequence[bytes], webhook_id: str, now_s: float, body: bytes) -> dict[str, str]:
    """The headers that prove the body, with a signature by each key."""
    timestamp = str(int(now_s))
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signature(key, webhook_id, timestamp, body) for key in keys),
    }


def signature(key: bytes, webhook_id: str, timestamp: str, body: bytes) -> str:
    """`v1,` and the base64 of an HMAC-SHA256 over id, timestamp (seconds) and raw body, joined by dots."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def signing_keys(setting: str, secrets: str, *, live: bool) -> list[bytes]:
    """The keys of a `signing_secret`, of which there may be two while one replaces the other. Raises SettingsError.

    setting  its name, for the error
    live     whether there must be one; else the sandbox is called, which does not check it
    """
    if not secrets:
        if live:
            raise SettingsError(
                f"{setting}: a webhook is signed; write {PREFIX} and the base64 of 24 random bytes or more"
            )
        return [b"sandbox"]
    keys = []
    for secret in secrets.split():
        try:
            key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not secret.startswith(PREFIX) or len(key) < MIN_SECRET_BYTES:
            raise SettingsError(f"{setting}: write {PREFIX} and the base64 of 24 random bytes or more")
        keys.append(key)
    return keys
