"""Mailchimp Transactional's webhook: HMAC-SHA1 over the webhook's URL and the form; a list of events in one field.

https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/
"""

from __future__ import annotations

import base64
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
    to_ms,
)
from adapter.feedback.bodies import read_form, read_json
from freshgate.errors import RequestError, SettingsError
from freshgate.settings import EspSettings
from freshgate.settings_parsing import setting_name

SIGNATURE = "X-Mandrill-Signature"
EVENTS_FIELD = "mandrill_events"
# Mailchimp Transactional event → ours
KINDS: Mapping[str, FeedbackKind] = {
    "send": "accepted",
    "delivered": "delivered",
    "deferral": "deferred",
    "hard_bounce": "bounced",
    "soft_bounce": "soft_bounced",
    "reject": "dropped",
    "spam": "complained",
    "unsub": "unsubscribed",
    "open": "opened",
    "click": "clicked",
}


class MailchimpTransactionalFeedback(FeedbackAccount):
    """One account's webhook. `feedback_url` must be the URL as Mailchimp has it: the signature covers it."""

    def __init__(self, name: str, settings: EspSettings) -> None:
        super().__init__(name, settings, "Mailchimp Transactional shows the webhook's key under Settings, Webhooks")
        self._url = settings.feedback_url
        if not self._url:
            raise SettingsError(
                f"{setting_name('esps', name, 'feedback_url')}: missing; write the webhook's URL exactly as it is "
                f'entered at Mailchimp, such as "https://mail.example.com/feedback/{name}"'
            )

    def verify(self, request: FeedbackRequest) -> None:
        try:
            fields = sorted(read_form(request.body))
        except RequestError:
            raise self.not_authentic("the body is not a form") from None
        text = self._url + "".join(name + value for name, value in fields)
        sent = (request.headers.get(SIGNATURE) or "").encode("latin-1", "replace")
        matches = False
        for secret in self.secrets:
            digest = hmac.digest(secret.encode(), text.encode("utf-8", "surrogateescape"), "sha1")
            matches |= hmac.compare_digest(base64.b64encode(digest), sent)
        if not matches:
            raise self.not_authentic("bad signature (or feedback_url is not the URL that Mailchimp has)")

    def read(self, request: FeedbackRequest) -> Sequence[FeedbackEvent]:
        events = read_json(dict(read_form(request.body)).get(EVENTS_FIELD, "").encode("utf-8", "surrogateescape"))
        if not isinstance(events, list):
            raise RequestError("expected a list of events")
        return [event for element in events if (event := _read_event(as_map(element)))]


def _read_event(element: Mapping[str, Any]) -> FeedbackEvent | None:
    kind = KINDS.get(as_text(element.get("event")))
    if kind is None:
        return None
    message = as_map(element.get("msg"))
    return FeedbackEvent(
        kind=kind,
        at=to_ms(element.get("ts")),
        email=as_text(message.get("email")) or None,
        send_id=send_id_in(as_map(message.get("metadata")).get(SEND_FIELD)),
        reason=short_reason(message.get("bounce_description"), message.get("diag"), message.get("reject")),
    )
