"""Delete: a person asks to be forgotten.

Erases the person up to that moment; what stops mail to an address stays.
Refused from a source with `trust = "browser"`.

Segment: docs, connections/destinations/catalog/webhooks/index.md.
mParticle: Firehose's erasure request (github.com/mParticle/mparticle-firehose-java-sdk, examples/json).
Listed in `catalog/events/__init__.py`.
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
