"""Product Clicked: a shopper clicks a product in a list.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: docs, developers/server/json-reference (`click`).
Tealium: `product_clicked`. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

PRODUCT_CLICKED = EventType(
    name="Product Clicked",
    fields={"product": "product"},
    sources={
        "segment": From(
            when={"type": "track", "event": ("Product Clicked", "Clicked Product")},
            paths={
                "product": "properties",
            },
        ),
        "mparticle": From(
            when={"event_type": "commerce_event", "data.product_action.action": "click"},
            paths={
                "product": "product",
            },
        ),
        "tealium": From(
            when={"tealium_event": "product_clicked"},
            paths={
                "product": "product",
            },
        ),
    },
)
