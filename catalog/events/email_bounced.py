"""Email Bounced: a mail could not be delivered.

Stops all mail to the address.

Segment: docs, connections/spec/email.md. mParticle: a custom event of the same name. Tealium: `email_bounced`.
Customer.io: https://docs.customer.io/api/webhooks. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

EMAIL_BOUNCED = EventType(
    name="Email Bounced",
    fields={
        "email": "text",
        "email_id": "id",
        "email_subject": "text",
        "campaign_id": "id",
        "campaign_name": "text",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": "Email Bounced"},
            paths={
                "email": ("context.traits.email", "properties.email"),
                "email_id": ("properties.email_id", "properties.emailId"),
                "email_subject": ("properties.email_subject", "properties.emailSubject"),
                "campaign_id": ("properties.campaign_id", "properties.campaignId"),
                "campaign_name": ("properties.campaign_name", "properties.campaignName"),
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Email Bounced"},
            paths={
                "email": ("user_identities.email", "data.custom_attributes.email"),
                "email_id": ("data.custom_attributes.email_id", "data.custom_attributes.emailId"),
                "email_subject": ("data.custom_attributes.email_subject", "data.custom_attributes.emailSubject"),
                "campaign_id": ("data.custom_attributes.campaign_id", "data.custom_attributes.campaignId"),
                "campaign_name": ("data.custom_attributes.campaign_name", "data.custom_attributes.campaignName"),
            },
        ),
        "tealium": From(
            when={"tealium_event": "email_bounced"},
            paths={
                "email_id": "email_id",
                "email_subject": "email_subject",
                "campaign_id": "campaign_id",
                "campaign_name": "campaign_name",
            },
        ),
        "customerio_reporting": From(
            when={"object_type": "email", "metric": "bounced"},
            paths={"email_id": "data.delivery_id", "email_subject": "data.subject", "campaign_id": "data.campaign_id"},
        ),
    },
    suppresses="bounced",
)
