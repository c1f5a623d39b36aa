"""Product Removed from Wishlist: a shopper takes a product off a wishlist.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/ecommerce/v2.md.
mParticle: docs, developers/server/json-reference (`remove_from_wish_list`). Tealium: `product_removed_from_wishlist`.
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

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
        "mparticle": From(
            when={
                "event_type": "commerce_event",
                "data.product_action.action": ("remove_from_wish_list", "remove_from_wishlist"),
            },
            paths={
                "wishlist_id": ("data.custom_attributes.wishlist_id", "data.custom_attributes.wishlistId"),
                "wishlist_name": ("data.custom_attributes.wishlist_name", "data.custom_attributes.wishlistName"),
                "product": "product",
            },
        ),
        "tealium": From(
            when={"tealium_event": "product_removed_from_wishlist"},
            paths={
                "wishlist_id": "wishlist_id",
                "wishlist_name": "wishlist_name",
                "product": "product",
            },
        ),
    },
)
