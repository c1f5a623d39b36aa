"""Unsubscribed: a person wants no more marketing mail.

Segment: docs, connections/spec/email.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

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
            when={"type": "track", "event": ("Unsubscribed", "Email Unsubscribed")},
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
    },
    suppresses="unsubscribed",
)
