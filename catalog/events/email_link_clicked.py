"""Email Link Clicked: a person clicks a link in a mail.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/email.md. mParticle: a custom event of the same name. Tealium: `email_link_clicked`.
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

EMAIL_LINK_CLICKED = EventType(
    name="Email Link Clicked",
    fields={
        "email": "text",
        "email_id": "id",
        "email_subject": "text",
        "campaign_id": "id",
        "campaign_name": "text",
        "link_id": "id",
        "link_url": "text",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": ("Email Link Clicked", "Clicked Email Link")},
            paths={
                "email": ("context.traits.email", "properties.email"),
                "email_id": ("properties.email_id", "properties.emailId"),
                "email_subject": ("properties.email_subject", "properties.emailSubject"),
                "campaign_id": ("properties.campaign_id", "properties.campaignId"),
                "campaign_name": ("properties.campaign_name", "properties.campaignName"),
                "link_id": ("properties.link_id", "properties.linkId"),
                "link_url": ("properties.link_url", "properties.linkUrl"),
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Email Link Clicked"},
            paths={
                "email": ("user_identities.email", "data.custom_attributes.email"),
                "email_id": ("data.custom_attributes.email_id", "data.custom_attributes.emailId"),
                "email_subject": ("data.custom_attributes.email_subject", "data.custom_attributes.emailSubject"),
                "campaign_id": ("data.custom_attributes.campaign_id", "data.custom_attributes.campaignId"),
                "campaign_name": ("data.custom_attributes.campaign_name", "data.custom_attributes.campaignName"),
                "link_id": ("data.custom_attributes.link_id", "data.custom_attributes.linkId"),
                "link_url": ("data.custom_attributes.link_url", "data.custom_attributes.linkUrl"),
            },
        ),
        "tealium": From(
            when={"tealium_event": "email_link_clicked"},
            paths={
                "email_id": "email_id",
                "email_subject": "email_subject",
                "campaign_id": "campaign_id",
                "campaign_name": "campaign_name",
                "link_id": "link_id",
                "link_url": "link_url",
            },
        ),
    },
)
