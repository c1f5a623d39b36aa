"""Order Completed: the purchase. It empties the cart whatever else it lacks.

Segment: docs, connections/spec/ecommerce/v2.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

ORDER_COMPLETED = EventType(
    name="Order Completed",
    fields={
        "order_id": "id",
        "checkout_id": "id",
        "affiliation": "text",
        "total": "money",
        "revenue": "money",
        "subtotal": "money",
        "shipping": "money",
        "tax": "money",
        "discount": "money",
        "coupon": "text",
        "currency": "text",
        "products": "products",
        "order_email": "text",
        "first_name": "text",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": ("Order Completed", "Completed Order")},
            paths={
                "order_id": ("properties.order_id", "properties.orderId"),
                "checkout_id": ("properties.checkout_id", "properties.checkoutId"),
                "affiliation": "properties.affiliation",
                "total": "properties.total",
                "revenue": "properties.revenue",
                "subtotal": "properties.subtotal",
                "shipping": "properties.shipping",
                "tax": "properties.tax",
                "discount": "properties.discount",
                "coupon": "properties.coupon",
                "currency": "properties.currency",
                "products": "properties.products",
                "order_email": "properties.email",
                "first_name": ("context.traits.first_name", "context.traits.firstName"),
            },
        ),
    },
    marks=("order",),
    profile=("first_name",),
    cart="clear",
    order="completed",
)
