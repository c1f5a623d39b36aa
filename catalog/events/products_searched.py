"""Products Searched: a shopper searched.

Segment: docs, connections/spec/ecommerce/v2.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

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
        "mparticle": From(
            when={"event_type": "custom_event", "data.event_name": "Products Searched"},
            paths={
                "query": "data.custom_attributes.query",
            },
        ),
        "tealium": From(
            when={"tealium_event": "search"},
            paths={
                "query": "search_keyword",
            },
        ),
    },
)
