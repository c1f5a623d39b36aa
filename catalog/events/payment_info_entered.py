"""Payment Info Entered: a shopper chooses how to pay.

Counts as cart activity and leaves the cart as it is; may start `abandoned_cart`.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: a custom event of the same name.
Tealium: `payment_info_entered`. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

PAYMENT_INFO_ENTERED = EventType(
    name="Payment Info Entered",
    fields={
        "checkout_id": "id",
        "order_id": "id",
        "step": "number",
        "shipping_method": "text",
        "payment_method": "text",
        "contact_email": "text",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": ("Payment Info Entered", "Entered Payment Info")},
            paths={
                "checkout_id": ("properties.checkout_id", "properties.checkoutId"),
                "order_id": ("properties.order_id", "properties.orderId"),
                "step": "properties.step",
                "shipping_method": ("properties.shipping_method", "properties.shippingMethod"),
                "payment_method": ("properties.payment_method", "properties.paymentMethod"),
                "contact_email": "properties.email",
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Payment Info Entered"},
            paths={
                "checkout_id": ("data.custom_attributes.checkout_id", "data.custom_attributes.checkoutId"),
                "order_id": ("data.custom_attributes.order_id", "data.custom_attributes.orderId"),
                "step": "data.custom_attributes.step",
                "shipping_method": ("data.custom_attributes.shipping_method", "data.custom_attributes.shippingMethod"),
                "payment_method": ("data.custom_attributes.payment_method", "data.custom_attributes.paymentMethod"),
                "contact_email": "data.custom_attributes.email",
            },
        ),
        "tealium": From(
            when={"tealium_event": "payment_info_entered"},
            paths={
                "checkout_id": "checkout_id",
                "order_id": "order_id",
                "step": "checkout_step",
                "shipping_method": "order_shipping_type",
                "payment_method": "order_payment_type",
            },
        ),
    },
    marks=("activity",),
)
