"""Checkout Step Viewed: a shopper sees a step of the checkout.

Counts as cart activity and leaves the cart as it is; may start `abandoned_cart`.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: a custom event of either name.
Tealium: `checkout_step_viewed`. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

CHECKOUT_STEP_VIEWED = EventType(
    name="Checkout Step Viewed",
    fields={
        "checkout_id": "id",
        "step": "number",
        "shipping_method": "text",
        "payment_method": "text",
        "contact_email": "text",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": ("Checkout Step Viewed", "Viewed Checkout Step")},
            paths={
                "checkout_id": ("properties.checkout_id", "properties.checkoutId"),
                "step": "properties.step",
                "shipping_method": ("properties.shipping_method", "properties.shippingMethod"),
                "payment_method": ("properties.payment_method", "properties.paymentMethod"),
                "contact_email": "properties.email",
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": ("Checkout Step Viewed", "Viewed Checkout Step")},
            paths={
                "checkout_id": ("data.custom_attributes.checkout_id", "data.custom_attributes.checkoutId"),
                "step": "data.custom_attributes.step",
                "shipping_method": ("data.custom_attributes.shipping_method", "data.custom_attributes.shippingMethod"),
                "payment_method": ("data.custom_attributes.payment_method", "data.custom_attributes.paymentMethod"),
                "contact_email": "data.custom_attributes.email",
            },
        ),
        "tealium": From(
            when={"tealium_event": "checkout_step_viewed"},
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
