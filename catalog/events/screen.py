"""Screen: a person sees a screen of the app.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/screen.md. mParticle: docs, developers/server/json-reference (`screen_view`).
Listed in `catalog/events/__init__.py`.
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
