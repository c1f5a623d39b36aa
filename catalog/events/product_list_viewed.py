"""Product List Viewed: a shopper sees a category or another list of products.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/ecommerce/v2.md.
mParticle: docs, developers/server/json-reference (`product_impressions`).
Tealium: docs, data-layer/definitions/retail (`category_view`). Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

PRODUCT_LIST_VIEWED = EventType(
    name="Product List Viewed",
    fields={"list_id": "id", "category": "text", "products": "products"},
    sources={
        "segment": From(
            when={
                "type": "track",
                "event": (
                    "Product List Viewed",
                    "Viewed Product Category",
                    "Viewed Product List",
                    "Product Category Viewed",
                ),
            },
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
