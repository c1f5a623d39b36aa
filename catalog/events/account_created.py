"""Account Created: a company opens an account.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/b2b-saas.md. mParticle: a custom event of the same name. Tealium: `account_created`.
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

ACCOUNT_CREATED = EventType(
    name="Account Created",
    fields={"account_name": "text"},
    sources={
        "segment": From(
            when={"type": "track", "event": ("Account Created", "Created Account")},
            paths={
                "account_name": ("properties.account_name", "properties.accountName"),
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Account Created"},
            paths={
                "account_name": ("data.custom_attributes.account_name", "data.custom_attributes.accountName"),
            },
        ),
        "tealium": From(
            when={"tealium_event": "account_created"},
            paths={
                "account_name": "account_name",
            },
        ),
    },
)
