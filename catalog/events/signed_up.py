"""Signed Up: a person opens an account.

Keeps the traits in `profile`; may start `welcome`.

Segment: docs, connections/spec/b2b-saas.md. mParticle: a custom event of the same name.
Tealium: docs, data-layer/definitions/retail (`user_register`). Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

SIGNED_UP = EventType(
    name="Signed Up",
    fields={
        "email": "text",
        "first_name": "text",
        "last_name": "text",
        "name": "text",
        "locale": "text",
        "type": "text",
        "plan": "text",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": "Signed Up"},
            paths={
                "email": "properties.email",
                "first_name": (
                    "properties.first_name",
                    "properties.firstName",
                    "context.traits.first_name",
                    "context.traits.firstName",
                ),
                "last_name": (
                    "properties.last_name",
                    "properties.lastName",
                    "context.traits.last_name",
                    "context.traits.lastName",
                ),
                "name": ("properties.name", "context.traits.name"),
                "locale": ("properties.locale", "context.traits.locale", "context.locale"),
                "type": "properties.type",
                "plan": "properties.plan",
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Signed Up"},
            paths={
                "email": "data.custom_attributes.email",
                "first_name": (
                    "data.custom_attributes.first_name",
                    "data.custom_attributes.firstName",
                    "user_attributes.firstname",
                    "user_attributes.first_name",
                ),
                "last_name": (
                    "data.custom_attributes.last_name",
                    "data.custom_attributes.lastName",
                    "user_attributes.lastname",
                    "user_attributes.last_name",
                ),
                "name": ("data.custom_attributes.name", "user_attributes.name"),
                "locale": ("data.custom_attributes.locale", "user_attributes.locale"),
                "type": "data.custom_attributes.type",
                "plan": "data.custom_attributes.plan",
            },
        ),
        "tealium": From(
            when={"tealium_event": "user_register"},
            paths={
                "first_name": "customer_first_name",
                "last_name": "customer_last_name",
                "name": "customer_name",
                "locale": "language_code",
            },
        ),
    },
    marks=("signup",),
    profile=("first_name", "last_name", "name", "locale"),
    shares=("first_name", "last_name", "name", "locale"),
)
