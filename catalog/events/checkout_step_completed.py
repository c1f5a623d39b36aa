"""Checkout Step Completed: a shopper completes a step of the checkout.

Counts as cart activity and leaves the cart as it is; may start `abandoned_cart`.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: docs, developers/server/json-reference (`checkout_option`).
Tealium: `checkout_step_completed`. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

CHECKOUT_STEP_COMPLETED = EventType(
    name="Checkout Step Completed",
    fields={
        "checkout_id": "id",
        "step": "number",
        "shipping_method": "text",
        "payment_method": "text",
        "contact_email": "text",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": ("Checkout Step Completed", "Completed Checkout Step")},
            paths={
                "checkout_id": ("properties.checkout_id", "properties.checkoutId"),
                "step": "properties.step",
                "shipping_method": ("properties.shipping_method", "properties.shippingMethod"),
                "payment_method": ("properties.payment_method", "properties.paymentMethod"),
                "contact_email": "properties.email",
            },
        ),
        "mparticle": From(
            when={"event_type": "commerce_event", "data.product_action.action": "checkout_option"},
            paths={
                "checkout_id": ("data.custom_attributes.checkout_id", "data.custom_attributes.checkoutId"),
                "step": "data.product_action.checkout_step",
                "shipping_method": ("data.custom_attributes.shipping_method", "data.custom_attributes.shippingMethod"),
                "payment_method": ("data.custom_attributes.payment_method", "data.custom_attributes.paymentMethod"),
                "contact_email": "data.custom_attributes.email",
            },
        ),
        "tealium": From(
            when={"tealium_event": "checkout_step_completed"},
            paths={
                "checkout_id": "checkout_id",
                "step": "checkout_step",
                "shipping_method": "order_shipping_type",
                "payment_method": "order_payment_type",
            },
        ),
    },
    marks=("activity",),
)
