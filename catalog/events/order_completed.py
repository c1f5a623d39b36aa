"""Order Completed: a shopper buys.

Empties the cart, whatever else it lacks, and withdraws `abandoned_cart` and `browse_abandonment`.
With an `order_id` it marks the order as completed and may start `order_confirmation`.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: docs, developers/server/json-reference (`purchase`).
Tealium: docs, data-layer/definitions/retail (`purchase`). Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

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
                "order_id": ("properties.order_id", "properties.orderId", "properties.id"),
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
        "mparticle": From(
            when={"event_type": "commerce_event", "data.product_action.action": "purchase"},
            paths={
                "order_id": "data.product_action.transaction_id",
                "checkout_id": ("data.custom_attributes.checkout_id", "data.custom_attributes.checkoutId"),
                "affiliation": "data.product_action.affiliation",
                "total": "data.product_action.total_amount",
                "shipping": "data.product_action.shipping_amount",
                "tax": "data.product_action.tax_amount",
                "coupon": "data.product_action.coupon_code",
                "currency": "data.currency_code",
                "products": "products",
                "order_email": "data.custom_attributes.email",
            },
        ),
        "tealium": From(
            when={"tealium_event": ("purchase", "order")},
            paths={
                "order_id": "order_id",
                "affiliation": "order_store",
                "total": "order_total",
                "subtotal": "order_subtotal",
                "shipping": ("order_shipping_amount", "order_shipping"),
                "tax": ("order_tax_amount", "order_tax"),
                "discount": ("order_discount_amount", "order_discount"),
                "coupon": "order_promo_code",
                "currency": ("order_currency_code", "order_currency", "product_currency"),
                "products": "products",
                "order_email": "customer_email",
                "first_name": "customer_first_name",
            },
        ),
    },
    marks=("order",),
    profile=("first_name",),
    cart="clear",
    order="completed",
)
