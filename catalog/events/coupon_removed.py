"""Coupon Removed: a coupon is taken off a cart or an order.

Counts as cart activity and leaves the cart as it is; may start `abandoned_cart`.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: a custom event of the same name. Tealium: `coupon_removed`.
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

COUPON_REMOVED = EventType(
    name="Coupon Removed",
    fields={
        "order_id": "id",
        "cart_id": "id",
        "coupon_id": "id",
        "coupon_name": "text",
        "discount": "money",
        "contact_email": "text",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": ("Coupon Removed", "Removed Coupon")},
            paths={
                "order_id": ("properties.order_id", "properties.orderId"),
                "cart_id": ("properties.cart_id", "properties.cartId"),
                "coupon_id": ("properties.coupon_id", "properties.couponId"),
                "coupon_name": ("properties.coupon_name", "properties.couponName"),
                "discount": "properties.discount",
                "contact_email": "properties.email",
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Coupon Removed"},
            paths={
                "order_id": ("data.custom_attributes.order_id", "data.custom_attributes.orderId"),
                "cart_id": ("data.custom_attributes.cart_id", "data.custom_attributes.cartId"),
                "coupon_id": ("data.custom_attributes.coupon_id", "data.custom_attributes.couponId"),
                "coupon_name": ("data.custom_attributes.coupon_name", "data.custom_attributes.couponName"),
                "discount": "data.custom_attributes.discount",
                "contact_email": "data.custom_attributes.email",
            },
        ),
        "tealium": From(
            when={"tealium_event": "coupon_removed"},
            paths={
                "order_id": "order_id",
                "cart_id": "cart_id",
                "coupon_id": ("coupon_id", "order_promo_code"),
                "coupon_name": "coupon_name",
                "discount": ("order_discount_amount", "order_discount"),
            },
        ),
    },
    marks=("activity",),
)
