"""Cart Shared: a shopper shows a cart to somebody else.

Recorded on the trail; starts no mail. The recipient's address is not read, since it is not a customer's.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: a custom event of the same name. Tealium: `cart_shared`.
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

CART_SHARED = EventType(
    name="Cart Shared",
    fields={"share_via": "text", "cart_id": "id", "products": "products"},
    sources={
        "segment": From(
            when={"type": "track", "event": ("Cart Shared", "Shared Cart")},
            paths={
                "share_via": ("properties.share_via", "properties.shareVia"),
                "cart_id": ("properties.cart_id", "properties.cartId"),
                "products": "properties.products",
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Cart Shared"},
            paths={
                "share_via": ("data.custom_attributes.share_via", "data.custom_attributes.shareVia"),
                "cart_id": ("data.custom_attributes.cart_id", "data.custom_attributes.cartId"),
                "products": "data.custom_attributes.products",
            },
        ),
        "tealium": From(
            when={"tealium_event": "cart_shared"},
            paths={
                "share_via": "share_via",
                "cart_id": "cart_id",
                "products": ("cart_products", "products"),
            },
        ),
    },
)
