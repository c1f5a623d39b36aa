"""Email Opened: a mail was opened.

Segment: docs, connections/spec/email.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

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
            when={"type": "track", "event": "Email Opened"},
            paths={
                "email": ("context.traits.email", "properties.email"),
                "email_id": ("properties.email_id", "properties.emailId"),
                "email_subject": ("properties.email_subject", "properties.emailSubject"),
                "campaign_id": ("properties.campaign_id", "properties.campaignId"),
                "campaign_name": ("properties.campaign_name", "properties.campaignName"),
            },
        ),
    },
)
