"""Alias: two ids are one person.

Segment: docs, connections/spec/alias.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

ALIAS = EventType(
    name="Alias",
    sources={
        "segment": From(when={"type": "alias"}),
        "tealium": From(
            # Ours: an id that Tealium stitched into the visitor (adapter/sources/tealium/elements.py).
            when={"tealium_event": "visitor_replaced"},
        ),
    },
    effect="alias",
)
