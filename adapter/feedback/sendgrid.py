"""SendGrid's signed event webhook: ECDSA over a timestamp and the raw bytes; a list of flat events.

https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

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
    to_ms,
)
from adapter.feedback.bodies import read_json
from freshgate.errors import RequestError, SettingsError
from freshgate.settings import EspSettings

SIGNATURE = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP = "X-Twilio-Email-Event-Webhook-Timestamp"
# SendGrid event → ours
KINDS: Mapping[str, FeedbackKind] = {
    "processed": "accepted",
    "delivered": "delivered",
    "deferred": "deferred",
    "bounce": "bounced",
    "blocked": "soft_bounced",
    "dropped": "dropped",
    "spamreport": "complained",
    "unsubscribe": "unsubscribed",
    "group_unsubscribe": "unsubscribed",
    "group_resubscribe": "resubscribed",
    "open": "opened",
    "click": "clicked",
}
# `reason` of a dropped mail → what it says of the address: SendGrid's own lists know more than ours then.
# https://www.twilio.com/docs/sendgrid/ui/analytics-and-reporting/email-activity-feed
DROPPED_BECAUSE: Mapping[str, FeedbackKind] = {
    "bounced address": "bounced",
    "invalid": "bounced",
    "spam reporting address": "complained",
    "unsubscribed address": "unsubscribed",
}


class SendgridFeedback(FeedbackAccount):
    """One account's event webhook. `feedback_secrets` are verification keys (public, base64)."""

    def __init__(self, name: str, settings: EspSettings) -> None:
        super().__init__(
            name, settings, "SendGrid shows the verification key under Mail Settings, Event Webhook, Signature"
        )
        self._keys = [self._load_key(text) for text in self.secrets]

    def _load_key(self, text: str) -> ec.EllipticCurvePublicKey:
        try:
            key = load_der_public_key(base64.b64decode(text, validate=True))
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise SettingsError(f"{self.key}: not a verification key; copy it from SendGrid, base64 that begins MFkw")
        return key

    def verify(self, request: FeedbackRequest) -> None:
        timestamp = request.headers.get(TIMESTAMP) or ""
        try:
            signature = base64.b64decode(request.headers.get(SIGNATURE) or "", validate=True)
        except (binascii.Error, ValueError):
            signature = b""
        signed = timestamp.encode("latin-1", "replace") + request.body
        if not any(_is_signed(key, signature, signed) for key in self._keys):
            raise self.not_authentic("bad signature")
        self.require_fresh(timestamp, request.now)

    def read(self, request: FeedbackRequest) -> Sequence[FeedbackEvent]:
        elements = read_json(request.body)
        if not isinstance(elements, list):
            raise RequestError("expected a list of events")
        return [event for element in elements if (event := _read_event(as_map(element)))]


def _is_signed(key: ec.EllipticCurvePublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _read_event(element: Mapping[str, Any]) -> FeedbackEvent | None:
    name = as_text(element.get("event"))
    # A block is a bounce that says nothing about the address.
    kind = KINDS.get("blocked" if name == "bounce" and element.get("type") == "blocked" else name)
    if kind is None:
        return None
    reason = as_text(element.get("reason")) or as_text(element.get("response"))
    if kind == "dropped":
        kind = _cause(reason)
    return FeedbackEvent(
        kind=kind,
        at=to_ms(element.get("timestamp")),
        email=as_text(element.get("email")) or None,
        send_id=send_id_in(element.get(SEND_FIELD)),
        reason=short_reason(name if name == "dropped" else "", reason),
    )


def _cause(reason: str) -> FeedbackKind:
    """What the reason of a dropped mail says of its address; "dropped" where it says nothing of it."""
    return next((kind for text, kind in DROPPED_BECAUSE.items() if reason.lower().startswith(text)), "dropped")
