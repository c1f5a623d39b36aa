"""Product Reviewed: a person reviews a product.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: a custom event of the same name.
Tealium: `product_reviewed`. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

PRODUCT_REVIEWED = EventType(
    name="Product Reviewed",
    fields={
        "product": "product",
        "review_id": "id",
        "review_body": "text",
        "rating": "number",
    },
    sources={
        "segment": From(
            when={"type": "track", "event": ("Product Reviewed", "Reviewed Product")},
            paths={
                "product": "properties",
                "review_id": ("properties.review_id", "properties.reviewId"),
                "review_body": ("properties.review_body", "properties.reviewBody"),
                "rating": "properties.rating",
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Product Reviewed"},
            paths={
                "product": "data.custom_attributes",
                "review_id": ("data.custom_attributes.review_id", "data.custom_attributes.reviewId"),
                "review_body": ("data.custom_attributes.review_body", "data.custom_attributes.reviewBody"),
                "rating": "data.custom_attributes.rating",
            },
        ),
        "tealium": From(
            when={"tealium_event": "product_reviewed"},
            paths={
                "product": "product",
                "review_id": "review_id",
                "review_body": "review_body",
                "rating": "rating",
            },
        ),
    },
)
