"""Order Refunded: money goes back, for all of an order or for some of its products.

Marks the order as refunded. A full refund (no products, and no total or one that reaches the order's) withdraws a
confirmation that has not left.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: docs, developers/server/json-reference (`refund`).
Tealium: docs, platforms/shopify (`shopify_refund`). Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

ORDER_REFUNDED = EventType(
    name="Order Refunded",
    fields={
        "order_id": "id",
        "total": "money",
        "currency": "text",
        "products": "products",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": ("Order Refunded", "Refunded Order")},
            paths={
                "order_id": (
                    "properties.order_id",
                    "properties.orderId",
                    "properties.id",
                    "properties.order_number",
                    "properties.transaction_id",
                ),
                "total": "properties.total",
                "currency": "properties.currency",
                "products": ("properties.products", "properties.items", "properties.line_items"),
            },
        ),
        "mparticle": From(
            when={"event_type": "commerce_event", "data.product_action.action": "refund"},
            paths={
                "order_id": "data.product_action.transaction_id",
                "total": "data.product_action.total_amount",
                "currency": "data.currency_code",
                "products": "products",
            },
        ),
        "tealium": From(
            when={"tealium_event": ("shopify_refund", "order_refunded")},
            paths={
                "order_id": ("order_id", "order_number"),
                "total": "order_total",
                "currency": ("order_currency_code", "order_currency", "product_currency"),
                "products": "products",
            },
        ),
    },
    order="refunded",
)
