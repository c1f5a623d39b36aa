"""Cart Viewed: a shopper looks at the whole cart.

Replaces the cart by `products`; may start `abandoned_cart`.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: a custom event of the same name.
Tealium: docs, data-layer/definitions/retail (`cart_view`). Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

SEGMENT = From(
    when={"type": "track", "event": ("Cart Viewed", "Viewed Cart")},
    paths={
        "cart_id": ("properties.cart_id", "properties.cartId"),
        "products": ("properties.products", "properties.items", "properties.line_items"),
        "currency": "properties.currency",
        "contact_email": "properties.email",
    },
)

CART_VIEWED = EventType(
    name="Cart Viewed",
    fields={"cart_id": "id", "products": "products", "currency": "text", "contact_email": "text"},
    sources={
        "segment": SEGMENT,
        # RudderStack's Shopify source.
        "rudderstack": From(when={"type": "track", "event": "Cart Update"}, paths=SEGMENT.paths),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Cart Viewed"},
            paths={
                "cart_id": ("data.custom_attributes.cart_id", "data.custom_attributes.cartId"),
                "products": "data.custom_attributes.products",
                "currency": "data.custom_attributes.currency",
                "contact_email": "data.custom_attributes.email",
            },
        ),
        "tealium": From(
            when={"tealium_event": "cart_view"},
            paths={
                "cart_id": "cart_id",
                "products": ("cart_products", "products"),
                "currency": ("order_currency_code", "order_currency", "product_currency"),
            },
        ),
    },
    marks=("cart", "activity"),
    cart="snapshot",
)
