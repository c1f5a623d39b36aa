"""Coupon Removed: a coupon was taken off again.

Segment: docs, connections/spec/ecommerce/v2.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

COUPON_REMOVED = EventType(
    name="Coupon Removed",
    fields={
        "order_id": "id",
        "cart_id": "id",
        "coupon_id": "id",
        "coupon_name": "text",
        "discount": "money",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": "Coupon Removed"},
            paths={
                "order_id": ("properties.order_id", "properties.orderId"),
                "cart_id": ("properties.cart_id", "properties.cartId"),
                "coupon_id": ("properties.coupon_id", "properties.couponId"),
                "coupon_name": ("properties.coupon_name", "properties.couponName"),
                "discount": "properties.discount",
            },
        ),
    },
    marks=("activity",),
)
