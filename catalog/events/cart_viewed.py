"""Cart Viewed: the whole cart, as the shopper saw it.

Segment: docs, connections/spec/ecommerce/v2.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

CART_VIEWED = EventType(
    name="Cart Viewed",
    fields={"cart_id": "id", "products": "products", "currency": "text"},
    sources={
        "segment": From(
            when={"type": "track", "event": "Cart Viewed"},
            paths={
                "cart_id": ("properties.cart_id", "properties.cartId"),
                "products": "properties.products",
                "currency": "properties.currency",
            },
        ),
    },
    marks=("cart", "activity"),
    cart="snapshot",
)
