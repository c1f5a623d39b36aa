"""Wishlist Product Added to Cart: a shopper moves a product from a wishlist into the cart.

Adds the product to the cart; may start `abandoned_cart`, and keeps `browse_abandonment` from being sent.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: a custom event of the same name.
Tealium: `wishlist_product_added_to_cart`. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

WISHLIST_PRODUCT_ADDED_TO_CART = EventType(
    name="Wishlist Product Added to Cart",
    fields={
        "wishlist_id": "id",
        "wishlist_name": "text",
        "cart_id": "id",
        "product": "product",
        "currency": "text",
        "contact_email": "text",
    },
    sources={
        "segment": From(
            when={
                "type": "track",
                "event": (
                    "Wishlist Product Added to Cart",
                    "Product Added to Cart from Wishlist",
                    "Product Added from Wishlist to Cart",
                ),
            },
            paths={
                "wishlist_id": ("properties.wishlist_id", "properties.wishlistId"),
                "wishlist_name": ("properties.wishlist_name", "properties.wishlistName"),
                "cart_id": ("properties.cart_id", "properties.cartId"),
                "product": "properties",
                "currency": "properties.currency",
                "contact_email": "properties.email",
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Wishlist Product Added to Cart"},
            paths={
                "wishlist_id": ("data.custom_attributes.wishlist_id", "data.custom_attributes.wishlistId"),
                "wishlist_name": ("data.custom_attributes.wishlist_name", "data.custom_attributes.wishlistName"),
                "cart_id": ("data.custom_attributes.cart_id", "data.custom_attributes.cartId"),
                "product": "data.custom_attributes",
                "currency": "data.custom_attributes.currency",
                "contact_email": "data.custom_attributes.email",
            },
        ),
        "tealium": From(
            when={"tealium_event": "wishlist_product_added_to_cart"},
            paths={
                "wishlist_id": "wishlist_id",
                "wishlist_name": "wishlist_name",
                "cart_id": "cart_id",
                "product": "product",
                "currency": ("order_currency_code", "order_currency", "product_currency"),
            },
        ),
    },
    marks=("cart", "activity", "added"),
    cart="add",
)
