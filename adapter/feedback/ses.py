"""Amazon SES by SNS: event publishing and notifications alike; one mail and possibly several recipients a message.

https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from adapter.feedback import sns
from adapter.feedback.base import (
    SEND_FIELD,
    FeedbackEvent,
    FeedbackKind,
    FeedbackRequest,
    as_map,
    as_text,
    send_id_in,
    short_reason,
)
from adapter.feedback.bodies import read_json
from adapter.feedback.sns import MAX_ENVELOPE_BYTES, Certificates, Fetch, is_signed, is_url_of_sns
from adapter.feedback.times import read_iso
from freshgate.errors import NotAuthentic, RequestError, SettingsError
from freshgate.settings import EspSettings
from freshgate.settings_parsing import setting_name
from freshgate.telemetry import logs

log = logs.get(__name__)

# SES event → ours, and where the event's details stand
KINDS: Mapping[str, tuple[FeedbackKind, str]] = {
    "Send": ("accepted", "send"),
    "Delivery": ("delivered", "delivery"),
    "DeliveryDelay": ("deferred", "deliveryDelay"),
    "Bounce": ("soft_bounced", "bounce"),
    "Reject": ("dropped", "reject"),
    "Rendering Failure": ("dropped", "failure"),
    "Complaint": ("complained", "complaint"),
    "Open": ("opened", "open"),
    "Click": ("clicked", "click"),
    "Subscription": ("unsubscribed", "subscription"),
}
RECIPIENTS = ("bouncedRecipients", "complainedRecipients", "delayedRecipients")


class SesFeedback:
    """One account's SNS topic, which `feedback_topic` names."""

    # The envelope is decoded before its signature is checked.
    max_bytes = MAX_ENVELOPE_BYTES

    def __init__(self, name: str, settings: EspSettings, fetch: Fetch | None = None) -> None:
        self.name = name
        self._key = setting_name("esps", name, "feedback_topic")
        self._topic = settings.feedback_topic
        if not self._topic.startswith("arn:"):
            raise SettingsError(
                f'{self._key}: write the ARN of the SNS topic, such as "arn:aws:sns:eu-west-1:123456789012:mail"'
            )
        self._fetch = fetch or partial(sns.fetch, allow_networks=settings.allow_networks)
        self._certificates = Certificates(self._fetch)

    def verify(self, request: FeedbackRequest) -> None:
        message = _message(request)
        # The topic comes first: nothing is fetched for a stranger who does not know it.
        if message.get("TopicArn") != self._topic:
            raise NotAuthentic("signature rejected", f"{self.name}: another topic than {self._key}")
        if not is_signed(message, self._certificates):
            raise NotAuthentic("signature rejected", f"{self.name}: not signed by SNS")

    def read(self, request: FeedbackRequest) -> Sequence[FeedbackEvent]:
        message = _message(request)
        if message["Type"] == "SubscriptionConfirmation":
            self._confirm(message)
            return []
        if message["Type"] != "Notification":
            return []
        return _read_notification(as_map(read_json(as_text(message.get("Message")))))

    def _confirm(self, message: Mapping[str, Any]) -> None:
        url = message.get("SubscribeURL")
        if not is_url_of_sns(url):
            raise RequestError("not a URL of SNS")
        self._fetch(str(url))
        log.info("subscription_confirmed", esp=self.name)


def _message(request: FeedbackRequest) -> Mapping[str, Any]:
    try:
        return as_map(read_json(request.body))
    except RequestError:
        return {}


def _read_notification(record: Mapping[str, Any]) -> list[FeedbackEvent]:
    name = as_text(record.get("eventType")) or as_text(record.get("notificationType"))
    if name not in KINDS:
        return []
    kind, place = KINDS[name]
    details, mail = as_map(record.get(place)), as_map(record.get("mail"))
    if name == "Bounce" and details.get("bounceType") == "Permanent":
        kind = "bounced"
    if name == "Subscription" and not _opted_out(details):
        kind = "resubscribed"
    sends = as_map(mail.get("tags")).get(SEND_FIELD)
    at = read_iso(details.get("timestamp")) or read_iso(mail.get("timestamp"))
    return [
        FeedbackEvent(
            kind=kind,
            at=at,
            email=address,
            send_id=send_id_in(sends[0] if isinstance(sends, list) and sends else sends),
            reason=short_reason(details.get("bounceType"), details.get("bounceSubType"), diagnosis),
        )
        for address, diagnosis in _recipients(details, mail)
    ]


def _recipients(details: Mapping[str, Any], mail: Mapping[str, Any]) -> list[tuple[str | None, Any]]:
    """(address, its server's words) of each recipient that the event is about; of the mail's where it names none."""
    for name in RECIPIENTS:
        recipients = details.get(name)
        if isinstance(recipients, list) and recipients:
            maps = [as_map(recipient) for recipient in recipients]
            return [(as_text(each.get("emailAddress")) or None, each.get("diagnosticCode")) for each in maps]
    addresses = details.get("recipients") or mail.get("destination")
    if isinstance(addresses, list) and addresses:
        return [(as_text(address) or None, None) for address in addresses]
    return [(None, None)]


def _opted_out(details: Mapping[str, Any]) -> bool:
    preferences = as_map(details.get("newTopicPreferences"))
    if preferences.get("unsubscribeAll") is True:
        return True
    topics = preferences.get("topicSubscriptionStatus")
    statuses = [as_map(topic).get("subscriptionStatus") for topic in topics] if isinstance(topics, list) else []
    return "OptOut" in statuses
