"""Product Viewed: a product's page was seen.

Segment: docs, connections/spec/ecommerce/v2.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

PRODUCT_VIEWED = EventType(
    name="Product Viewed",
    fields={"product": "product", "currency": "text"},
    sources={
        "segment": From(
            when={"type": "track", "event": ("Product Viewed", "Viewed Product")},
            paths={
                "product": "properties",
                "currency": "properties.currency",
            },
        ),
    },
    marks=("view",),
)
