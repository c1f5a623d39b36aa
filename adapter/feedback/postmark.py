"""Postmark's webhooks: JSON that nothing signs; the secret is the password in the webhook's URL, or a header.

https://postmarkapp.com/developer/webhooks/webhooks-overview
"""

from __future__ import annotations

import base64
import binascii
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
from freshgate.settings import EspSettings

# Postmark RecordType → ours
KINDS: Mapping[str, FeedbackKind] = {
    "Delivery": "delivered",
    "Bounce": "soft_bounced",
    "SpamComplaint": "complained",
    "Open": "opened",
    "Click": "clicked",
    "SubscriptionChange": "unsubscribed",
}
# Type of a Bounce → ours; every other is soft. https://postmarkapp.com/developer/api/bounce-api#bounce-types
BOUNCES: Mapping[str, FeedbackKind] = {
    "HardBounce": "bounced",
    "BadEmailAddress": "bounced",
    "ManuallyDeactivated": "bounced",
    "SpamComplaint": "complained",
    "Unsubscribe": "unsubscribed",
    "Subscribe": "resubscribed",
}
# SuppressionReason of a SubscriptionChange → ours
SUPPRESSED_BECAUSE: Mapping[str, FeedbackKind] = {"HardBounce": "bounced", "SpamComplaint": "complained"}


class PostmarkFeedback(FeedbackAccount):
    """One server's webhooks: `https://freshgate:<secret>@…/feedback/<account>`, or the header X-Freshgate-Token."""

    def __init__(self, name: str, settings: EspSettings) -> None:
        super().__init__(
            name, settings, "invent a long random text, and enter it at Postmark as the webhook's basic auth password"
        )

    def verify(self, request: FeedbackRequest) -> None:
        token = request.headers.get("X-Freshgate-Token")
        if token is None:
            token = _password(request.headers.get("Authorization") or "")
        self.require_secret(token, "the basic auth password is wrong")

    def read(self, request: FeedbackRequest) -> Sequence[FeedbackEvent]:
        record = as_map(read_json(request.body))
        kind = _kind(record)
        if kind is None:
            return []
        times = (record.get(name) for name in ("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt"))
        return [
            FeedbackEvent(
                kind=kind,
                at=next((at for at in map(read_iso, times) if at), 0),
                email=as_text(record.get("Recipient")) or as_text(record.get("Email")) or None,
                send_id=send_id_in(as_map(record.get("Metadata")).get(SEND_FIELD)),
                reason=short_reason(record.get("Type"), record.get("Description"), record.get("SuppressionReason")),
            )
        ]


def _kind(record: Mapping[str, Any]) -> FeedbackKind | None:
    kind = KINDS.get(as_text(record.get("RecordType")))
    if record.get("RecordType") == "Bounce":
        return BOUNCES.get(as_text(record.get("Type")), kind)
    if record.get("RecordType") == "SubscriptionChange":
        if record.get("SuppressSending") is not True:
            return "resubscribed"
        return SUPPRESSED_BECAUSE.get(as_text(record.get("SuppressionReason")), kind)
    return kind


def _password(authorization: str) -> str:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
