"""Product List Filtered: a list was filtered or sorted.

Segment: docs, connections/spec/ecommerce/v2.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

PRODUCT_LIST_FILTERED = EventType(
    name="Product List Filtered",
    fields={"list_id": "id", "category": "text", "products": "products"},
    sources={
        "segment": From(
            when={"type": "track", "event": "Product List Filtered"},
            paths={
                "list_id": ("properties.list_id", "properties.listId"),
                "category": "properties.category",
                "products": "properties.products",
            },
        ),
    },
)
