"""Email Bounced: a mail did not arrive.

Stops all mail to the address; one that says that it is soft is an Email Soft Bounced, and stops nothing.

Segment: docs, connections/spec/email.md. mParticle: a custom event of either name. Tealium: `email_bounced`.
Customer.io: https://docs.customer.io/api/webhooks. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from freshgate import EventType, From

# Words in which senders say what sort of bounce it was: Iterable's recipientState, Amazon SES' bounceType, Mailgun's
# severity, SendGrid's type, Salesforce's EventType.
HARD = ("hard", "permanent")
SOFT = ("soft", "transient", "temporary", "deferred", "delayed", "block", "undetermined", "mailboxfull")
# Where they write them; and where the code of the server's reply stands, the places that hold nothing else first.
TYPE_NAMES = (
    "bounce_type",
    "recipient_state",
    "severity",
    "bounce_classification",
    "classification",
    "bounce_category",
    "event_type",
    "type",
)
STATUS_NAMES = (
    "smtp_status",
    "smtp_code",
    "diagnostic_code",
    "error_code",
    "status",
    "code",
    "failure_message",
    "bounce_reason",
    "reason",
    "response",
)
# As ESPs and those who pass on their reports call it: Iterable, Braze. What the name says of its sort counts.
NAMES = (
    *("Email Bounced", "Email Hard Bounced", "Email Soft Bounced", "Email Bounce", "Email Hard Bounce"),
    *("Email Soft Bounce", "Hard Bounce", "Soft Bounce", "users.messages.email.Bounce"),
    "users.messages.email.SoftBounce",
)
# An enhanced status code (RFC 3463), or the reply code before it (RFC 5321): 4 may pass, 5 is for good.
STATUS = re.compile(r"(?<![\d.])([245])\.\d{1,3}\.\d{1,3}(?![\d.])|^\D{0,10}([45])\d\d(?!\d)", re.ASCII)


def _is_soft(fields: Mapping[str, Any]) -> bool:
    """Whether the bounce says that it is soft. One that does not say is hard."""
    words = [re.sub(r"[\W_]", "", fields.get(name, "")).lower() for name in ("bounce_type", "event_name")]
    for text in words:
        if any(word in text for word in HARD):
            return False
        if any(word in text for word in SOFT):
            return True
    codes = [match[1] or match[2] for match in STATUS.finditer(fields.get("bounce_status", ""))]
    return bool(codes) and "5" not in codes and "4" in codes


def _in(place: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{place}.{name}" for name in names)


EMAIL_BOUNCED = EventType(
    name="Email Bounced",
    fields={
        "email": "text",
        "email_id": "id",
        "email_subject": "text",
        "campaign_id": "id",
        "campaign_name": "text",
        "event_name": "text",
        "bounce_type": "text",
        "bounce_status": "text",
    },
    sources={
        "segment": From(
            when={
                "type": "track",
                "event": ("Bounced Email", *NAMES),
            },
            paths={
                "email": ("context.traits.email", "properties.email"),
                "email_id": ("properties.email_id", "properties.emailId"),
                "email_subject": ("properties.email_subject", "properties.emailSubject"),
                "campaign_id": ("properties.campaign_id", "properties.campaignId"),
                "campaign_name": ("properties.campaign_name", "properties.campaignName"),
                "event_name": "event",
                "bounce_type": ("properties.bounce.bounce_type", *_in("properties", TYPE_NAMES)),
                "bounce_status": _in("properties", STATUS_NAMES),
            },
        ),
        "mparticle": From(
            when={
                "event_type": "custom_event",
                "data.event_name": NAMES,
            },
            paths={
                "email": ("user_identities.email", "data.custom_attributes.email"),
                "email_id": ("data.custom_attributes.email_id", "data.custom_attributes.emailId"),
                "email_subject": ("data.custom_attributes.email_subject", "data.custom_attributes.emailSubject"),
                "campaign_id": ("data.custom_attributes.campaign_id", "data.custom_attributes.campaignId"),
                "campaign_name": ("data.custom_attributes.campaign_name", "data.custom_attributes.campaignName"),
                "event_name": "data.event_name",
                "bounce_type": _in("data.custom_attributes", TYPE_NAMES),
                "bounce_status": _in("data.custom_attributes", STATUS_NAMES),
            },
        ),
        "tealium": From(
            when={"tealium_event": ("email_bounced", "email_hard_bounced", "email_soft_bounced")},
            paths={
                "email_id": "email_id",
                "email_subject": "email_subject",
                "campaign_id": "campaign_id",
                "campaign_name": "campaign_name",
                "event_name": "tealium_event",
                "bounce_type": ("bounce_type", "bounce_classification", "bounce_category"),
                "bounce_status": ("bounce_status", "smtp_status", "smtp_code", "diagnostic_code", "bounce_reason"),
            },
        ),
        "customerio_reporting": From(
            when={"object_type": "email", "metric": "bounced"},
            paths={
                "email_id": "data.delivery_id",
                "email_subject": "data.subject",
                "campaign_id": "data.campaign_id",
                "bounce_type": ("data.bounce_type", "data.type"),
                "bounce_status": "data.failure_message",
            },
        ),
    },
    suppresses="bounced",
    instead=("Email Soft Bounced", _is_soft),
)
