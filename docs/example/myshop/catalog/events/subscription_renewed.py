"""Subscription Renewed: a person pays for another period of a subscription.

Keeps the plan as a trait; may start `renewal_thanks`. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

SUBSCRIPTION_RENEWED = EventType(
    name="Subscription Renewed",
    fields={"plan": "text", "total": "money"},
    sources={
        "segment": From(
            when={"type": "track", "event": "Subscription Renewed"},
            paths={"plan": "properties.plan", "total": ("properties.total", "properties.revenue")},
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Subscription Renewed"},
            paths={"plan": "data.custom_attributes.plan", "total": "data.custom_attributes.total"},
        ),
    },
    marks=("renewed",),
    profile=("plan",),
)
