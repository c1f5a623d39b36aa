"""Alias: two ids turn out to be one person.

Joins the previous id's record to the person. Refused from a source with `trust = "browser"`.

Segment: docs, connections/spec/alias.md. Tealium: the `replaces` of a visitor (docs, webhook-connectors).
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

ALIAS = EventType(
    name="Alias",
    sources={
        "segment": From(when={"type": "alias"}),
        "tealium": From(
            # Freshgate's own name for an id that Tealium stitched into a visitor: adapter/sources/tealium/elements.py.
            when={"tealium_event": "visitor_replaced"},
        ),
    },
    effect="alias",
)
