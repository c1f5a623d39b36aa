"""Coupon Denied: the shop refuses a coupon.

Counts as cart activity and leaves the cart as it is; may start `abandoned_cart`.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: a custom event of the same name. Tealium: `coupon_denied`.
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

COUPON_DENIED = EventType(
    name="Coupon Denied",
    fields={
        "order_id": "id",
        "cart_id": "id",
        "coupon_id": "id",
        "coupon_name": "text",
        "reason": "text",
        "contact_email": "text",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": ("Coupon Denied", "Denied Coupon")},
            paths={
                "order_id": ("properties.order_id", "properties.orderId"),
                "cart_id": ("properties.cart_id", "properties.cartId"),
                "coupon_id": ("properties.coupon_id", "properties.couponId"),
                "coupon_name": ("properties.coupon_name", "properties.couponName"),
                "reason": "properties.reason",
                "contact_email": "properties.email",
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Coupon Denied"},
            paths={
                "order_id": ("data.custom_attributes.order_id", "data.custom_attributes.orderId"),
                "cart_id": ("data.custom_attributes.cart_id", "data.custom_attributes.cartId"),
                "coupon_id": ("data.custom_attributes.coupon_id", "data.custom_attributes.couponId"),
                "coupon_name": ("data.custom_attributes.coupon_name", "data.custom_attributes.couponName"),
                "reason": "data.custom_attributes.reason",
                "contact_email": "data.custom_attributes.email",
            },
        ),
        "tealium": From(
            when={"tealium_event": "coupon_denied"},
            paths={
                "order_id": "order_id",
                "cart_id": "cart_id",
                "coupon_id": ("coupon_id", "order_promo_code"),
                "coupon_name": "coupon_name",
                "reason": "reason",
            },
        ),
    },
    marks=("activity",),
)
