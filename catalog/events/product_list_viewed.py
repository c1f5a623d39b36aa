"""Product List Viewed: a category or list was seen.

Segment: docs, connections/spec/ecommerce/v2.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

PRODUCT_LIST_VIEWED = EventType(
    name="Product List Viewed",
    fields={"list_id": "id", "category": "text", "products": "products"},
    sources={
        "segment": From(
            when={"type": "track", "event": ("Product List Viewed", "Viewed Product Category")},
            paths={
                "list_id": ("properties.list_id", "properties.listId"),
                "category": "properties.category",
                "products": "properties.products",
            },
        ),
        "mparticle": From(
            when={"event_type": "impression"},
            paths={
                "list_id": "list",
                "category": "data.custom_attributes.category",
                "products": "products",
            },
        ),
        "tealium": From(
            when={"tealium_event": "category_view"},
            paths={
                "list_id": "category_id",
                "category": "category_name",
                "products": "products",
            },
        ),
    },
)
