"""Email Soft Bounced: a mail did not arrive, but the next one may.

Recorded on the trail; suppresses nothing. No CDP spells it: it is an Email Bounced that says that it is soft.
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType

EMAIL_SOFT_BOUNCED = EventType(
    name="Email Soft Bounced",
    fields={
        "email_id": "id",
        "email_subject": "text",
        "campaign_id": "id",
        "campaign_name": "text",
        "event_name": "text",
        "bounce_type": "text",
        "bounce_status": "text",
    },
)
