"""Promotion Viewed: a shopper is shown a promotion.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: docs, developers/server/json-reference (`promotion_action`).
Tealium: `promotion_viewed`. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

PROMOTION_VIEWED = EventType(
    name="Promotion Viewed",
    fields={
        "promotion_id": "id",
        "creative": "text",
        "name": "text",
        "position": "text",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": ("Promotion Viewed", "Viewed Promotion")},
            paths={
                "promotion_id": ("properties.promotion_id", "properties.promotionId"),
                "creative": "properties.creative",
                "name": "properties.name",
                "position": "properties.position",
            },
        ),
        "mparticle": From(
            when={"event_type": "commerce_event", "data.promotion_action.action": "view"},
            paths={
                "promotion_id": "promotion.id",
                "creative": "promotion.creative",
                "name": "promotion.name",
                "position": "promotion.position",
            },
        ),
        "tealium": From(
            when={"tealium_event": "promotion_viewed"},
            paths={
                "promotion_id": "promotion_id",
                "creative": "promotion_creative",
                "name": "promotion_name",
                "position": "promotion_position",
            },
        ),
    },
)
