"""Delete: a person asked to be forgotten.

Segment: docs, connections/spec/../destinations/catalog/webhooks/index.md. Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

DELETE = EventType(
    name="Delete",
    sources={
        "segment": From(when={"type": "delete"}),
        "mparticle": From(when={"event_type": "dsr_processing_request", "data.type": "erasure"}),
    },
    effect="delete",
)
