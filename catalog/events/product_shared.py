"""Product Shared: a shopper shows a product to somebody else.

Recorded on the trail; starts no mail. The recipient's address is not read, since it is not a customer's.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: a custom event of the same name. Tealium: `product_shared`.
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

PRODUCT_SHARED = EventType(
    name="Product Shared",
    fields={"share_via": "text", "product": "product"},
    sources={
        "segment": From(
            when={"type": "track", "event": ("Product Shared", "Shared Product")},
            paths={
                "share_via": ("properties.share_via", "properties.shareVia"),
                "product": "properties",
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Product Shared"},
            paths={
                "share_via": ("data.custom_attributes.share_via", "data.custom_attributes.shareVia"),
                "product": "data.custom_attributes",
            },
        ),
        "tealium": From(
            when={"tealium_event": "product_shared"},
            paths={
                "share_via": "share_via",
                "product": "product",
            },
        ),
    },
)
