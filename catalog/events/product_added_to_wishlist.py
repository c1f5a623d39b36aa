"""Product Added to Wishlist: a shopper puts a product on a wishlist.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: docs, developers/server/json-reference (`add_to_wishlist`).
Tealium: `product_added_to_wishlist`. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

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
        "mparticle": From(
            when={"event_type": "commerce_event", "data.product_action.action": "add_to_wishlist"},
            paths={
                "wishlist_id": ("data.custom_attributes.wishlist_id", "data.custom_attributes.wishlistId"),
                "wishlist_name": ("data.custom_attributes.wishlist_name", "data.custom_attributes.wishlistName"),
                "product": "product",
            },
        ),
        "tealium": From(
            when={"tealium_event": "product_added_to_wishlist"},
            paths={
                "wishlist_id": "wishlist_id",
                "wishlist_name": "wishlist_name",
                "product": "product",
            },
        ),
    },
)
