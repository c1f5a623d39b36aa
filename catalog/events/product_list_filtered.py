"""Product List Filtered: a shopper filters or sorts a list of products.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: a custom event of the same name.
Tealium: `product_list_filtered`. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

PRODUCT_LIST_FILTERED = EventType(
    name="Product List Filtered",
    fields={"list_id": "id", "category": "text", "products": "products"},
    sources={
        "segment": From(
            when={"type": "track", "event": ("Product List Filtered", "Filtered Product List")},
            paths={
                "list_id": ("properties.list_id", "properties.listId"),
                "category": "properties.category",
                "products": "properties.products",
            },
        ),
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Product List Filtered"},
            paths={
                "list_id": ("data.custom_attributes.list_id", "data.custom_attributes.listId"),
                "category": "data.custom_attributes.category",
                "products": "data.custom_attributes.products",
            },
        ),
        "tealium": From(
            when={"tealium_event": "product_list_filtered"},
            paths={
                "list_id": "category_id",
                "category": "category_name",
                "products": "products",
            },
        ),
    },
)
