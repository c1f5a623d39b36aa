"""Checkout Started: the whole cart, as it went into the checkout.

Segment: docs, connections/spec/ecommerce/v2.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

CHECKOUT_STARTED = EventType(
    name="Checkout Started",
    fields={
        "order_id": "id",
        "checkout_id": "id",
        "affiliation": "text",
        "value": "money",
        "revenue": "money",
        "shipping": "money",
        "tax": "money",
        "discount": "money",
        "coupon": "text",
        "currency": "text",
        "products": "products",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": ("Checkout Started", "Started Order")},
            paths={
                "order_id": ("properties.order_id", "properties.orderId"),
                "checkout_id": ("properties.checkout_id", "properties.checkoutId"),
                "affiliation": "properties.affiliation",
                "value": "properties.value",
                "revenue": "properties.revenue",
                "shipping": "properties.shipping",
                "tax": "properties.tax",
                "discount": "properties.discount",
                "coupon": "properties.coupon",
                "currency": "properties.currency",
                "products": "properties.products",
            },
        ),
    },
    marks=("cart", "activity"),
    cart="snapshot",
)
