"""Email Marked as Spam: a person reports a mail as spam.

Stops all mail to the address.

Segment: docs, connections/spec/email.md. mParticle: a custom event of either name. Tealium: `email_marked_as_spam`.
Customer.io: https://docs.customer.io/api/webhooks. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

# As ESPs and those who pass on their reports call it: Iterable, Braze, Klaviyo, SendGrid. It only withholds.
NAMES = (
    *("Email Marked as Spam", "Email Marked As Spam", "Marked Email as Spam", "Email Reported as Spam"),
    *("Email Complaint", "Email Complained", "Spam Complaint", "Email Spam Complaint", "Spam Reported"),
    *("Email Spam Reported", "Email Spam Report", "users.messages.email.MarkAsSpam"),
)

EMAIL_MARKED_AS_SPAM = EventType(
    name="Email Marked as Spam",
    fields={
        "email": "text",
        "email_id": "id",
        "email_subject": "text",
        "campaign_id": "id",
        "campaign_name": "text",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": NAMES},
            paths={
                "email": ("context.traits.email", "properties.email"),
                "email_id": ("properties.email_id", "properties.emailId"),
                "email_subject": ("properties.email_subject", "properties.emailSubject"),
                "campaign_id": ("properties.campaign_id", "properties.campaignId"),
                "campaign_name": ("properties.campaign_name", "properties.campaignName"),
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": NAMES},
            paths={
                "email": ("user_identities.email", "data.custom_attributes.email"),
                "email_id": ("data.custom_attributes.email_id", "data.custom_attributes.emailId"),
                "email_subject": ("data.custom_attributes.email_subject", "data.custom_attributes.emailSubject"),
                "campaign_id": ("data.custom_attributes.campaign_id", "data.custom_attributes.campaignId"),
                "campaign_name": ("data.custom_attributes.campaign_name", "data.custom_attributes.campaignName"),
            },
        ),
        "tealium": From(
            when={"tealium_event": "email_marked_as_spam"},
            paths={
                "email_id": "email_id",
                "email_subject": "email_subject",
                "campaign_id": "campaign_id",
                "campaign_name": "campaign_name",
            },
        ),
        "customerio_reporting": From(
            when={"object_type": "email", "metric": "spammed"},
            paths={"email_id": "data.delivery_id", "email_subject": "data.subject", "campaign_id": "data.campaign_id"},
        ),
    },
    suppresses="spam",
)
