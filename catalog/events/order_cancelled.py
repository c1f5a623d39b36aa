"""Order Cancelled: an order is called off.

Marks the order as cancelled, which withdraws a confirmation that has not left.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: a custom event of the same name. Tealium: `order_cancelled`.
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

ORDER_CANCELLED = EventType(
    name="Order Cancelled",
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
    },
    sources={
        "segment": From(
            when={"type": "track", "event": ("Order Cancelled", "Cancelled Order", "Order Canceled", "Canceled Order")},
            paths={
                "order_id": (
                    "properties.order_id",
                    "properties.orderId",
                    "properties.id",
                    "properties.order_number",
                    "properties.transaction_id",
                ),
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
                "products": ("properties.products", "properties.items", "properties.line_items"),
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Order Cancelled"},
            paths={
                "order_id": (
                    "data.custom_attributes.order_id",
                    "data.custom_attributes.orderId",
                    "data.custom_attributes.order_number",
                ),
                "checkout_id": ("data.custom_attributes.checkout_id", "data.custom_attributes.checkoutId"),
                "affiliation": "data.custom_attributes.affiliation",
                "total": "data.custom_attributes.total",
                "revenue": "data.custom_attributes.revenue",
                "subtotal": "data.custom_attributes.subtotal",
                "shipping": "data.custom_attributes.shipping",
                "tax": "data.custom_attributes.tax",
                "discount": "data.custom_attributes.discount",
                "coupon": "data.custom_attributes.coupon",
                "currency": "data.custom_attributes.currency",
                "products": "data.custom_attributes.products",
            },
        ),
        "tealium": From(
            when={"tealium_event": "order_cancelled"},
            paths={
                "order_id": ("order_id", "order_number"),
                "affiliation": "order_store",
                "total": "order_total",
                "subtotal": "order_subtotal",
                "shipping": ("order_shipping_amount", "order_shipping"),
                "tax": ("order_tax_amount", "order_tax"),
                "discount": ("order_discount_amount", "order_discount"),
                "coupon": "order_promo_code",
                "currency": ("order_currency_code", "order_currency", "product_currency"),
                "products": "products",
            },
        ),
    },
    order="cancelled",
)
