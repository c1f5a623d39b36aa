"""Subscribed: a person wants marketing mail, perhaps again.

Lifts an older unsubscribe of the address, not a bounce and not a spam report; keeps the traits in `profile`.
One with a plan or a price is a Subscription Started.

Segment, mParticle: the counterpart of Unsubscribed in docs, connections/spec/email.md; mParticle's `opt_out` with
`is_opted_out: false`, and a renewed consent in `consent_state` (docs, developers/server/json-reference). Tealium: docs,
data-layer/definitions/retail (`email_signup`). Customer.io: https://docs.customer.io/api/webhooks. Listed in
`catalog/events/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freshgate import EventType, From

NAMES = (
    "Subscribed",
    "Email Subscribed",
    "Resubscribed",
    "Email Resubscribed",
    "Newsletter Subscribed",
    "Subscribed to Newsletter",
    # Customer.io's, as RudderStack passes it on.
    "Customer Subscribed",
)


def _is_bought(fields: Mapping[str, Any]) -> bool:
    """Whether a plan was bought: many shops and apps call that Subscribed, too."""
    return bool(fields.keys() & {"plan", "price", "revenue", "subscription_id", "product_id"})


SUBSCRIBED = EventType(
    name="Subscribed",
    fields={
        "email": "text",
        "first_name": "text",
        "last_name": "text",
        "name": "text",
        "locale": "text",
        "email_id": "id",
        "campaign_id": "id",
        "campaign_name": "text",
        "list_id": "id",
        "list_name": "text",
        "plan": "text",
        "price": "money",
        "revenue": "money",
        "subscription_id": "id",
        "product_id": "id",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": NAMES},
            paths={
                "email": ("context.traits.email", "traits.email", "properties.email"),
                "first_name": ("properties.first_name", "context.traits.first_name", "traits.first_name"),
                "name": ("context.traits.name", "traits.name"),
                "campaign_id": "properties.campaign_id",
                "campaign_name": "properties.campaign_name",
                "list_id": "properties.list_id",
                "list_name": "properties.list_name",
                "plan": ("properties.plan", "properties.plan_id", "properties.plan_name"),
                "price": ("properties.price", "properties.amount"),
                "revenue": "properties.revenue",
                "subscription_id": "properties.subscription_id",
                "product_id": "properties.product_id",
            },
        ),
        "mparticle": From(
            # The last two are Freshgate's own, for an opt_out or a consent_state that is taken back:
            # adapter/sources/mparticle/elements.py.
            when={"event_type": "custom_event", "data.event_name": (*NAMES, "opt_out_false", "consent_renewed")},
            paths={
                "email": ("user_identities.email", "data.custom_attributes.email"),
                "campaign_id": "data.custom_attributes.campaign_id",
                "campaign_name": "data.custom_attributes.campaign_name",
                "list_id": "data.custom_attributes.list_id",
                "list_name": "data.custom_attributes.list_name",
                "plan": ("data.custom_attributes.plan", "data.custom_attributes.plan_id"),
                "price": ("data.custom_attributes.price", "data.custom_attributes.amount"),
                "revenue": "data.custom_attributes.revenue",
                "subscription_id": "data.custom_attributes.subscription_id",
                "product_id": "data.custom_attributes.product_id",
            },
        ),
        "tealium": From(
            when={"tealium_event": ("email_signup", "subscribed", "email_subscribe")},
            paths={
                "first_name": "customer_first_name",
                "last_name": "customer_last_name",
                "name": "customer_name",
                "locale": "language_code",
                "list_id": "list_id",
                "list_name": "list_name",
            },
        ),
        "customerio_reporting": From(
            when={"object_type": ("email", "customer"), "metric": "subscribed"},
            paths={"email_id": "data.delivery_id", "campaign_id": "data.campaign_id"},
        ),
    },
    profile=("first_name", "last_name", "name", "locale"),
    shares=("first_name", "last_name", "name", "locale"),
    lifts="unsubscribed",
    instead=("Subscription Started", _is_bought),
)
