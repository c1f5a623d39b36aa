"""Account Created: a company's account was opened.

Segment: docs, connections/spec/b2b-saas.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

ACCOUNT_CREATED = EventType(
    name="Account Created",
    fields={"account_name": "text"},
    sources={
        "segment": From(
            when={"type": "track", "event": "Account Created"},
            paths={
                "account_name": ("properties.account_name", "properties.accountName"),
            },
        ),
    },
)
