"""Page Left: a visitor leaves a page, after so many seconds and having scrolled so far.

Recorded on the trail; starts no mail.

Freshgate's own event, sent by adapter/routes/freshgate.js. Listed in `catalog/events/__init__.py`.
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
