"""Page Left: a visitor went away from a page, after so many seconds and so far down.

Ours: adapter/routes/freshgate.js sends it. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

PAGE_LEFT = EventType(
    name="Page Left",
    fields={"path": "text", "seconds": "number", "scrolled": "number"},
    sources={
        "segment": From(
            when={"type": "track", "event": "Page Left"},
            paths={
                "path": "properties.path",
                "seconds": "properties.seconds",
                "scrolled": "properties.scrolled",
            },
        ),
    },
)
