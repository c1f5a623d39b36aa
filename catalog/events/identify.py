"""Identify: who a person is: traits that the shop knows, and often the address.

Segment: docs, connections/spec/identify.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

IDENTIFY = EventType(
    name="Identify",
    fields={
        "email": "text",
        "first_name": "text",
        "last_name": "text",
        "name": "text",
        "locale": "text",
        "created_at": "time",
    },
    sources={
        "segment": From(
            when={"type": "identify"},
            paths={
                "email": "traits.email",
                "first_name": ("traits.first_name", "traits.firstName"),
                "last_name": ("traits.last_name", "traits.lastName"),
                "name": "traits.name",
                "locale": ("traits.locale", "context.locale"),
                "created_at": ("traits.createdAt", "traits.created_at"),
            },
        ),
    },
    profile=("first_name", "last_name", "name", "locale"),
)
