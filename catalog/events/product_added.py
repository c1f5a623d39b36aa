"""Product Added: a shopper puts a product into the cart.

Adds the product to the cart; may start `abandoned_cart`, and keeps `browse_abandonment` from being sent.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: docs, developers/server/json-reference (`add_to_cart`).
Tealium: docs, data-layer/definitions/retail (`cart_add`). Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

PRODUCT_ADDED = EventType(
    name="Product Added",
    fields={"cart_id": "id", "product": "product", "currency": "text", "contact_email": "text"},
    sources={
        "segment": From(
            when={"type": "track", "event": ("Product Added", "Added Product")},
            paths={
                "cart_id": ("properties.cart_id", "properties.cartId"),
                "product": "properties",
                "currency": "properties.currency",
                "contact_email": "properties.email",
            },
        ),
        "mparticle": From(
            when={"event_type": "commerce_event", "data.product_action.action": "add_to_cart"},
            paths={
                "cart_id": ("data.custom_attributes.cart_id", "data.custom_attributes.cartId"),
                "product": "product",
                "currency": "data.currency_code",
                "contact_email": "data.custom_attributes.email",
            },
        ),
        "tealium": From(
            when={"tealium_event": "cart_add"},
            paths={
                "cart_id": "cart_id",
                "product": "product",
                "currency": ("order_currency_code", "order_currency", "product_currency"),
            },
        ),
    },
    marks=("cart", "activity", "added"),
    cart="add",
)
