"""Identify: the shop says who a person is, often with the address.

Keeps the traits in `profile`; may start `welcome` for a fresh account. A trait that says so unsubscribes the person.

Segment: docs, connections/spec/identify.md.
mParticle: docs, developers/server/json-reference (changes of attributes and identities).
Tealium: docs, data-layer/definitions/retail (`user_update`). Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

IDENTIFY = EventType(
    name="Identify",
    fields={
        "email": "text",
        "first_name": "text",
        "last_name": "text",
        "name": "text",
        "locale": "text",
        "created_at": "time",
        "unsubscribed": "flag",
    },
    sources={
        "segment": From(
            when={"type": "identify"},
            paths={
                # RudderStack's identify has the traits in its context only (rudder-sdk-js, RudderEventFactory.ts).
                "email": ("traits.email", "traits.email_address"),
                # OpenID Connect's names, as of Auth0 and Cognito, come after Segment's own.
                "first_name": ("traits.first_name", "context.traits.first_name", "traits.given_name"),
                "last_name": ("traits.last_name", "context.traits.last_name", "traits.family_name"),
                "name": ("traits.name", "context.traits.name", "traits.full_name"),
                "locale": ("traits.locale", "context.traits.locale", "context.locale"),
                # `created`, too, is Segment's own name (facade, lib/identify.js).
                "created_at": (
                    "traits.created_at",
                    "traits.created",
                    "context.traits.created_at",
                    "context.traits.created",
                ),
                # Customer.io's reserved name; a CRM's, such as Salesforce's HasOptedOutOfEmail.
                "unsubscribed": (
                    "traits.unsubscribed",
                    "context.traits.unsubscribed",
                    "traits.email_opt_out",
                    "traits.has_opted_out_of_email",
                ),
            },
        ),
        "mparticle": From(
            when={"event_type": ("user_attribute_change", "user_identity_change", "user_profile")},
            paths={
                "email": ("user_identities.email", "user_attributes.email"),
                "first_name": "user_attributes.firstname",
                "last_name": "user_attributes.lastname",
                "name": "user_attributes.name",
                "locale": "user_attributes.locale",
                "created_at": ("user_attributes.created_at", "user_attributes.created"),
                "unsubscribed": ("user_attributes.unsubscribed", "user_attributes.email_opt_out"),
            },
        ),
        "tealium": From(
            # The last is Freshgate's own name for a visitor's profile: adapter/sources/tealium/elements.py.
            when={"tealium_event": ("user_update", "visitor_profile")},
            paths={
                "first_name": "customer_first_name",
                "last_name": "customer_last_name",
                "name": "customer_name",
                "locale": "language_code",
            },
        ),
    },
    profile=("first_name", "last_name", "name", "locale"),
    opt_out="unsubscribed",
)
