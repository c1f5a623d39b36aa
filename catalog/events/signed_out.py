"""Signed Out: a person signs out.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/b2b-saas.md. mParticle: a custom event of the same name. Tealium: `user_logout`.
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

SIGNED_OUT = EventType(
    name="Signed Out",
    sources={
        "segment": From(when={"type": "track", "event": "Signed Out"}),
        "mparticle": From(when={"event_type": "custom_event", "data.event_name": "Signed Out"}),
        "tealium": From(when={"tealium_event": "user_logout"}),
    },
)
