"""Email Opened: a person opens a mail.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/email.md. mParticle: a custom event of the same name. Tealium: `email_opened`.
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

EMAIL_OPENED = EventType(
    name="Email Opened",
    fields={
        "email": "text",
        "email_id": "id",
        "email_subject": "text",
        "campaign_id": "id",
        "campaign_name": "text",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": ("Email Opened", "Opened Email")},
            paths={
                "email": ("context.traits.email", "properties.email"),
                "email_id": ("properties.email_id", "properties.emailId"),
                "email_subject": ("properties.email_subject", "properties.emailSubject"),
                "campaign_id": ("properties.campaign_id", "properties.campaignId"),
                "campaign_name": ("properties.campaign_name", "properties.campaignName"),
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Email Opened"},
            paths={
                "email": ("user_identities.email", "data.custom_attributes.email"),
                "email_id": ("data.custom_attributes.email_id", "data.custom_attributes.emailId"),
                "email_subject": ("data.custom_attributes.email_subject", "data.custom_attributes.emailSubject"),
                "campaign_id": ("data.custom_attributes.campaign_id", "data.custom_attributes.campaignId"),
                "campaign_name": ("data.custom_attributes.campaign_name", "data.custom_attributes.campaignName"),
            },
        ),
        "tealium": From(
            when={"tealium_event": "email_opened"},
            paths={
                "email_id": "email_id",
                "email_subject": "email_subject",
                "campaign_id": "campaign_id",
                "campaign_name": "campaign_name",
            },
        ),
    },
)
