"""Products Searched: a shopper searched.

Segment: docs, connections/spec/ecommerce/v2.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from adapter.declare import EventType, From

PRODUCTS_SEARCHED = EventType(
    name="Products Searched",
    fields={"query": "text"},
    sources={
        "segment": From(
            when={"type": "track", "event": "Products Searched"},
            paths={
                "query": "properties.query",
            },
        ),
    },
)
