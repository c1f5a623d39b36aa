"""Screen: a screen of the app was seen.

Segment: docs, connections/spec/screen.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

SCREEN = EventType(
    name="Screen",
    fields={"name": "text", "category": "text"},
    sources={
        "segment": From(
            when={"type": "screen"},
            paths={
                "name": "name",
                "category": ("category", "properties.category"),
            },
        ),
        "mparticle": From(
            when={"event_type": "screen_view"},
            paths={
                "name": "data.screen_name",
                "category": "data.custom_attributes.category",
            },
        ),
    },
)
