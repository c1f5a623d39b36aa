"""Product Viewed: a shopper sees a product's page.

Remembers the product as the newest one viewed, and its category as the one viewed last; may start `browse_abandonment`.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: docs, developers/server/json-reference (`view_detail`).
Tealium: docs, data-layer/definitions/retail (`product_view`). Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

PRODUCT_VIEWED = EventType(
    name="Product Viewed",
    fields={"product": "product", "currency": "text", "viewed_category": "text"},
    sources={
        "segment": From(
            when={"type": "track", "event": ("Product Viewed", "Viewed Product")},
            paths={
                "product": "properties",
                "currency": "properties.currency",
                "viewed_category": "properties.category",
            },
        ),
        "mparticle": From(
            when={"event_type": "commerce_event", "data.product_action.action": "view_detail"},
            paths={
                "product": "product",
                "currency": "data.currency_code",
                "viewed_category": "product.category",
            },
        ),
        "tealium": From(
            when={"tealium_event": "product_view"},
            paths={
                "product": "product",
                "currency": ("order_currency_code", "order_currency", "product_currency"),
            },
        ),
    },
    marks=("view",),
    profile=("viewed_category",),
)
