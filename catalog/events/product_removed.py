"""Product Removed: a shopper takes a product out of the cart.

Removes the product from the cart; may start `abandoned_cart` for what is still in it.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: docs, developers/server/json-reference (`remove_from_cart`).
Tealium: docs, data-layer/definitions/retail (`cart_remove`). Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

PRODUCT_REMOVED = EventType(
    name="Product Removed",
    fields={"cart_id": "id", "product": "product", "contact_email": "text"},
    sources={
        "segment": From(
            when={"type": "track", "event": ("Product Removed", "Removed Product")},
            paths={
                "cart_id": ("properties.cart_id", "properties.cartId"),
                "product": "properties",
                "contact_email": "properties.email",
            },
        ),
        "mparticle": From(
            when={"event_type": "commerce_event", "data.product_action.action": "remove_from_cart"},
            paths={
                "cart_id": ("data.custom_attributes.cart_id", "data.custom_attributes.cartId"),
                "product": "product",
                "contact_email": "data.custom_attributes.email",
            },
        ),
        "tealium": From(
            when={"tealium_event": "cart_remove"},
            paths={
                "cart_id": "cart_id",
                "product": "product",
            },
        ),
    },
    marks=("cart", "activity"),
    cart="remove",
)
