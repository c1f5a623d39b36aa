"""Products Searched: a shopper searches the shop.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/ecommerce/v2.md. mParticle: a custom event of the same name.
Tealium: docs, data-layer/definitions/retail (`search`). Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

PRODUCTS_SEARCHED = EventType(
    name="Products Searched",
    fields={"query": "text"},
    sources={
        "segment": From(
            when={"type": "track", "event": ("Products Searched", "Searched Products")},
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
