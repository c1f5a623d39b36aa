"""Page: a visitor sees a page of the site.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/page.md. Tealium: docs, data-layer/definitions/retail (`page_view`).
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

PAGE = EventType(
    name="Page",
    fields={
        "name": "text",
        "category": "text",
        "title": "text",
        "url": "text",
        "path": "text",
        "referrer": "text",
    },
    sources={
        "segment": From(
            when={"type": "page"},
            paths={
                "name": "name",
                "category": ("category", "properties.category"),
                "title": "properties.title",
                "url": "properties.url",
                "path": "properties.path",
                "referrer": "properties.referrer",
            },
        ),
        "tealium": From(
            when={"tealium_event": ("page_view", "view")},
            paths={
                "name": "page_name",
                "category": ("page_category", "page_type"),
                "title": "dom.title",
                "url": "dom.url",
                "path": "dom.pathname",
                "referrer": "dom.referrer",
            },
        ),
    },
)
