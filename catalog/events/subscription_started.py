"""Subscription Started: a person buys a plan.

Recorded on the trail; starts no mail, and lifts no unsubscribe. A Subscribed with a plan or a price is one, too.

Segment, mParticle: an event of that name. Tealium: `subscription_started`. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

SUBSCRIPTION_STARTED = EventType(
    name="Subscription Started",
    fields={
        "plan": "text",
        "price": "money",
        "revenue": "money",
        "subscription_id": "id",
        "product_id": "id",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": "Subscription Started"},
            paths={
                "plan": ("properties.plan", "properties.plan_id", "properties.plan_name"),
                "price": ("properties.price", "properties.amount"),
                "revenue": "properties.revenue",
                "subscription_id": "properties.subscription_id",
                "product_id": "properties.product_id",
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Subscription Started"},
            paths={
                "plan": ("data.custom_attributes.plan", "data.custom_attributes.plan_id"),
                "price": ("data.custom_attributes.price", "data.custom_attributes.amount"),
                "revenue": "data.custom_attributes.revenue",
                "subscription_id": "data.custom_attributes.subscription_id",
                "product_id": "data.custom_attributes.product_id",
            },
        ),
        "tealium": From(
            when={"tealium_event": "subscription_started"},
            paths={"plan": "subscription_plan", "subscription_id": "subscription_id"},
        ),
    },
)
