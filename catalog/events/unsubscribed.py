"""Unsubscribed: a person wants no more marketing mail.

Stops marketing mail to the address; transactional mail goes on.

Segment: docs, connections/spec/email.md.
mParticle: a custom event of either name, and docs, developers/server/json-reference (`opt_out`, `consent_state`).
Tealium: `unsubscribed`, `email_unsubscribe`. Customer.io: https://docs.customer.io/api/webhooks.
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

# As ESPs and those who pass on their reports call it: Customer.io and Iterable (rudder-transformer, src/sources),
# Braze, Klaviyo, and shops' own preference pages. It only withholds, so more names than Segment's are read.
NAMES = (
    *("Unsubscribed", "Email Unsubscribed", "Customer Unsubscribed", "User Unsubscribed", "Newsletter Unsubscribed"),
    *("Unsubscribe", "Email Unsubscribe", "users.messages.email.Unsubscribe", "Email Opt Out", "Email Opted Out"),
    *("Unsubscribed from Email", "Unsubscribed from Emails", "Unsubscribed from Newsletter", "Unsubscribed from List"),
    *("Unsubscribed from Email Marketing", "Email List Unsubscribed"),
)

UNSUBSCRIBED = EventType(
    name="Unsubscribed",
    fields={
        "email": "text",
        "email_id": "id",
        "email_subject": "text",
        "campaign_id": "id",
        "campaign_name": "text",
        "list_id": "id",
        "list_name": "text",
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
                "list_id": ("properties.list_id", "properties.listId"),
                "list_name": ("properties.list_name", "properties.listName"),
            },
        ),
        "mparticle": From(
            # The last two are Freshgate's own, for opt_out and consent_state: adapter/sources/mparticle/elements.py.
            when={
                "event_type": "custom_event",
                "data.event_name": (*NAMES, "opt_out", "consent_withdrawn"),
            },
            paths={
                "email": ("user_identities.email", "data.custom_attributes.email"),
                "email_id": ("data.custom_attributes.email_id", "data.custom_attributes.emailId"),
                "email_subject": ("data.custom_attributes.email_subject", "data.custom_attributes.emailSubject"),
                "campaign_id": ("data.custom_attributes.campaign_id", "data.custom_attributes.campaignId"),
                "campaign_name": ("data.custom_attributes.campaign_name", "data.custom_attributes.campaignName"),
                "list_id": ("data.custom_attributes.list_id", "data.custom_attributes.listId"),
                "list_name": ("data.custom_attributes.list_name", "data.custom_attributes.listName"),
            },
        ),
        "tealium": From(
            when={"tealium_event": ("unsubscribed", "email_unsubscribe")},
            paths={
                "email_id": "email_id",
                "email_subject": "email_subject",
                "campaign_id": "campaign_id",
                "campaign_name": "campaign_name",
                "list_id": "list_id",
                "list_name": "list_name",
            },
        ),
        "customerio_reporting": From(
            when={"object_type": ("email", "customer"), "metric": "unsubscribed"},
            paths={"email_id": "data.delivery_id", "email_subject": "data.subject", "campaign_id": "data.campaign_id"},
        ),
    },
    suppresses="unsubscribed",
)
