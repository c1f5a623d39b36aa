"""Product Removed from Wishlist: a product was taken off a wishlist.

Segment: docs, connections/spec/ecommerce/v2.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

PRODUCT_REMOVED_FROM_WISHLIST = EventType(
    name="Product Removed from Wishlist",
    fields={"wishlist_id": "id", "wishlist_name": "text", "product": "product"},
    sources={
        "segment": From(
            when={"type": "track", "event": "Product Removed from Wishlist"},
            paths={
                "wishlist_id": ("properties.wishlist_id", "properties.wishlistId"),
                "wishlist_name": ("properties.wishlist_name", "properties.wishlistName"),
                "product": "properties",
            },
        ),
    },
)
