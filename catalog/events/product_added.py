"""Product Added: a product was put into the cart.

Segment: docs, connections/spec/ecommerce/v2.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

PRODUCT_ADDED = EventType(
    name="Product Added",
    fields={"cart_id": "id", "product": "product", "currency": "text"},
    sources={
        "segment": From(
            when={"type": "track", "event": ("Product Added", "Added Product")},
            paths={
                "cart_id": ("properties.cart_id", "properties.cartId"),
                "product": "properties",
                "currency": "properties.currency",
            },
        ),
    },
    marks=("cart", "activity", "added"),
    cart="add",
)
