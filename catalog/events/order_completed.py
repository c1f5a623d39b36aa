"""Order Completed: a shopper buys.

Empties the cart, whatever else it lacks, and withdraws `abandoned_cart` and `browse_abandonment`.
With an `order_id` it marks the order as completed and may start `order_confirmation`.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: docs, developers/server/json-reference (`purchase`).
Tealium: docs, data-layer/definitions/retail (`purchase`). Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

# WooCommerce's plugin for Segment has the order's number in `id` (analytics-wordpress, integrations/ecommerce).
SEGMENT = From(
    when={"type": "track", "event": ("Order Completed", "Completed Order")},
    paths={
        # A shop's number of an order, or a payment's id, stands for its id only where that is the only name.
        "order_id": (
            "properties.order_id",
            "properties.id",
            "properties.order_number",
            "properties.transaction_id",
        ),
        "checkout_id": "properties.checkout_id",
        "affiliation": "properties.affiliation",
        "total": "properties.total",
        "revenue": "properties.revenue",
        "subtotal": "properties.subtotal",
        "shipping": "properties.shipping",
        "tax": "properties.tax",
        "discount": "properties.discount",
        "coupon": "properties.coupon",
        # Shopify's total is an amount with its currency.
        "currency": ("properties.currency", "properties.total.currencyCode", "properties.total.currency"),
        "products": ("properties.products", "properties.items", "properties.line_items"),
        "order_email": "properties.email",
        "first_name": ("context.traits.first_name", "traits.first_name"),
        "name": ("context.traits.name", "traits.name"),
    },
)

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
        "name": "text",
    },
    sources={
        "segment": SEGMENT,
        # RudderStack's Shopify source.
        "rudderstack": From(when={"type": "track", "event": "Order Created"}, paths=SEGMENT.paths),
        "mparticle": From(
            when={"event_type": "commerce_event", "data.product_action.action": "purchase"},
            paths={
                "order_id": (
                    "data.product_action.transaction_id",
                    "data.custom_attributes.order_id",
                    "data.custom_attributes.order_number",
                ),
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
                # Those with an underscore are of Tealium's E-Commerce extension, which tags map from.
                "order_id": ("order_id", "_corder", "order_number"),
                "affiliation": ("order_store", "_cstore"),
                "total": ("order_total", "_ctotal"),
                "subtotal": ("order_subtotal", "_csubtotal"),
                "shipping": ("order_shipping_amount", "order_shipping", "_cship"),
                "tax": ("order_tax_amount", "order_tax", "_ctax"),
                "discount": ("order_discount_amount", "order_discount"),
                "coupon": ("order_promo_code", "_cpromo"),
                "currency": ("order_currency_code", "order_currency", "product_currency", "_ccurrency"),
                "products": "products",
                "order_email": "customer_email",
                "first_name": "customer_first_name",
                "name": "customer_name",
            },
        ),
    },
    marks=("order",),
    profile=("first_name", "name"),
    shares=("first_name", "name"),
    cart="clear",
    order="completed",
)
