"""Cart Shared: a cart was shown to somebody else, whose address is not ours to use.

Segment: docs, connections/spec/ecommerce/v2.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

CART_SHARED = EventType(
    name="Cart Shared",
    fields={"share_via": "text", "cart_id": "id", "products": "products"},
    sources={
        "segment": From(
            when={"type": "track", "event": "Cart Shared"},
            paths={
                "share_via": ("properties.share_via", "properties.shareVia"),
                "cart_id": ("properties.cart_id", "properties.cartId"),
                "products": "properties.products",
            },
        ),
    },
)
