"""Product Added to Wishlist: a product was put on a wishlist.

Segment: docs, connections/spec/ecommerce/v2.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

PRODUCT_ADDED_TO_WISHLIST = EventType(
    name="Product Added to Wishlist",
    fields={"wishlist_id": "id", "wishlist_name": "text", "product": "product"},
    sources={
        "segment": From(
            when={"type": "track", "event": "Product Added to Wishlist"},
            paths={
                "wishlist_id": ("properties.wishlist_id", "properties.wishlistId"),
                "wishlist_name": ("properties.wishlist_name", "properties.wishlistName"),
                "product": "properties",
            },
        ),
    },
)
