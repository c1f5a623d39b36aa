"""Mailchimp Marketing's audience webhook: forms that nothing signs, so the secret is the key in the webhook's URL.

https://mailchimp.com/developer/marketing/guides/sync-audience-data-webhooks/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from adapter.feedback.base import (
    FeedbackAccount,
    FeedbackEvent,
    FeedbackKind,
    FeedbackRequest,
    short_reason,
)
from adapter.feedback.bodies import read_form
from freshgate.settings import EspSettings

# Mailchimp type → ours. A cleaned address bounced, or its owner complained.
KINDS: Mapping[str, FeedbackKind] = {
    "subscribe": "resubscribed",
    "unsubscribe": "unsubscribed",
    "cleaned": "bounced",
}


class MailchimpMarketingFeedback(FeedbackAccount):
    """One account's webhook, whose URL ends `?key=<one of feedback_secrets>`."""

    def __init__(self, name: str, settings: EspSettings) -> None:
        super().__init__(
            name, settings, f"invent a long random text, and enter …/feedback/{name}?key=<it> as the audience's webhook"
        )

    def verify(self, request: FeedbackRequest) -> None:
        self.require_secret(request.query.get("key"), "the URL's key is wrong")

    def read(self, request: FeedbackRequest) -> Sequence[FeedbackEvent]:
        fields = dict(read_form(request.body))
        kind = KINDS.get(fields.get("type", ""))
        if kind is None:
            return []
        reason = fields.get("data[reason]", "")
        if fields["type"] == "cleaned" and reason == "abuse":
            kind = "complained"
        return [
            FeedbackEvent(
                kind=kind,
                at=_read_time(fields.get("fired_at", "")),
                email=fields.get("data[email]") or None,
                reason=short_reason(fields["type"], reason),
            )
        ]


def _read_time(text: str) -> int:
    """ "2026-11-30 12:00:00", which is UTC, in ms; 0 for anything else."""
    try:
        return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return 0
