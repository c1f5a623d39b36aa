"""Resend's webhooks, signed as Standard Webhooks has it.

https://resend.com/docs/dashboard/webhooks/introduction, https://www.standardwebhooks.com/
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

from adapter.feedback.base import (
    SEND_FIELD,
    FeedbackAccount,
    FeedbackEvent,
    FeedbackKind,
    FeedbackRequest,
    as_map,
    as_text,
    send_id_in,
    short_reason,
)
from adapter.feedback.bodies import read_json
from adapter.feedback.times import read_iso
from freshgate.errors import SettingsError
from freshgate.settings import EspSettings

# Resend type → ours
KINDS: Mapping[str, FeedbackKind] = {
    "email.sent": "accepted",
    "email.delivered": "delivered",
    "email.delivery_delayed": "deferred",
    "email.bounced": "soft_bounced",
    "email.failed": "dropped",
    "email.suppressed": "dropped",
    "email.complained": "complained",
    "email.opened": "opened",
    "email.clicked": "clicked",
}
PERMANENT = "permanent"
# The standard's own names, and those of Svix, which Resend uses.
HEADER_PREFIXES = ("svix-", "webhook-")


class ResendFeedback(FeedbackAccount):
    """One account's webhook. `feedback_secrets` are signing secrets, "whsec_…"."""

    def __init__(self, name: str, settings: EspSettings) -> None:
        super().__init__(name, settings, "Resend shows the webhook's signing secret, which begins whsec_")
        self._keys = [self._decode_secret(secret) for secret in self.secrets]

    def _decode_secret(self, secret: str) -> bytes:
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            raise SettingsError(f"{self.key}: not a signing secret; copy it from Resend, whsec_ and base64") from None

    def verify(self, request: FeedbackRequest) -> None:
        headers = request.headers
        prefix = next((prefix for prefix in HEADER_PREFIXES if headers.get(f"{prefix}signature")), HEADER_PREFIXES[0])
        message_id, timestamp = headers.get(f"{prefix}id") or "", headers.get(f"{prefix}timestamp") or ""
        signed = f"{message_id}.{timestamp}.".encode("latin-1", "replace") + request.body
        # Several, while the secret is rotated; each with its version.
        sent = [text.removeprefix("v1,") for text in (headers.get(f"{prefix}signature") or "").split(" ")]
        matches = False
        for key in self._keys:
            expected = base64.b64encode(hmac.digest(key, signed, "sha256"))
            for signature in sent[:10]:
                matches |= hmac.compare_digest(expected, signature.encode("latin-1", "replace"))
        if not matches:
            raise self.not_authentic("bad signature")
        self.require_fresh(timestamp, request.now)

    def read(self, request: FeedbackRequest) -> Sequence[FeedbackEvent]:
        envelope = as_map(read_json(request.body))
        kind = KINDS.get(as_text(envelope.get("type")))
        if kind is None:
            return []
        email = as_map(envelope.get("data"))
        bounce = as_map(email.get("bounce"))
        if kind == "soft_bounced" and as_text(bounce.get("type")).lower() == PERMANENT:
            kind = "bounced"
        recipients = email.get("to")
        addresses = [to for to in recipients if isinstance(to, str)] if isinstance(recipients, list) else []
        return [
            FeedbackEvent(
                kind=kind,
                at=read_iso(envelope.get("created_at")),
                email=address,
                send_id=send_id_in(_tag(email.get("tags"))),
                reason=short_reason(bounce.get("subType"), bounce.get("message")),
            )
            for address in addresses or (None,)
        ]


def _tag(tags: Any) -> Any:
    """Our tag, of a map or of a list of names and values: Resend sends the one and documents the other."""
    if isinstance(tags, list):
        return next((as_map(tag).get("value") for tag in tags if as_map(tag).get("name") == SEND_FIELD), "")
    return as_map(tags).get(SEND_FIELD)
