"""Checkout Step Completed: a step of the checkout was done.

Segment: docs, connections/spec/ecommerce/v2.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

CHECKOUT_STEP_COMPLETED = EventType(
    name="Checkout Step Completed",
    fields={
        "checkout_id": "id",
        "step": "number",
        "shipping_method": "text",
        "payment_method": "text",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": ("Checkout Step Completed", "Completed Checkout Step")},
            paths={
                "checkout_id": ("properties.checkout_id", "properties.checkoutId"),
                "step": "properties.step",
                "shipping_method": ("properties.shipping_method", "properties.shippingMethod"),
                "payment_method": ("properties.payment_method", "properties.paymentMethod"),
            },
        ),
    },
    marks=("activity",),
)
