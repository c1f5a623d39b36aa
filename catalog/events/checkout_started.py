"""Checkout Started: a shopper goes to the checkout with the whole cart.

Replaces the cart by `products`; may start `abandoned_cart`.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: docs, developers/server/json-reference (`checkout`).
Tealium: docs, data-layer/definitions/retail (`checkout`). Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

SEGMENT = From(
    when={"type": "track", "event": ("Checkout Started", "Started Order", "Started Checkout")},
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
        "products": ("properties.products", "properties.items", "properties.line_items"),
        "contact_email": "properties.email",
        "first_name": ("context.traits.first_name", "traits.first_name"),
        "name": ("context.traits.name", "traits.name"),
    },
)

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
        "contact_email": "text",
        "first_name": "text",
        "name": "text",
    },
    sources={
        "segment": SEGMENT,
        # RudderStack's Shopify source.
        "rudderstack": From(
            when={"type": "track", "event": ("Checkout Updated", "Checkout Started Webhook")}, paths=SEGMENT.paths
        ),
        "mparticle": From(
            when={"event_type": "commerce_event", "data.product_action.action": "checkout"},
            paths={
                "order_id": "data.product_action.transaction_id",
                "checkout_id": ("data.custom_attributes.checkout_id", "data.custom_attributes.checkoutId"),
                "affiliation": "data.product_action.affiliation",
                "value": "data.product_action.total_amount",
                "shipping": "data.product_action.shipping_amount",
                "tax": "data.product_action.tax_amount",
                "coupon": "data.product_action.coupon_code",
                "currency": "data.currency_code",
                "products": "products",
                "contact_email": "data.custom_attributes.email",
            },
        ),
        "tealium": From(
            when={"tealium_event": "checkout"},
            paths={
                "order_id": "order_id",
                "affiliation": "order_store",
                "shipping": ("order_shipping_amount", "order_shipping"),
                "tax": ("order_tax_amount", "order_tax"),
                "discount": ("order_discount_amount", "order_discount"),
                "coupon": "order_promo_code",
                "currency": ("order_currency_code", "order_currency", "product_currency"),
                "value": ("order_total", "cart_total_value"),
                "products": ("cart_products", "products"),
            },
        ),
    },
    marks=("cart", "activity"),
    profile=("first_name", "name"),
    shares=("first_name", "name"),
    cart="snapshot",
)
