"""Signed In: a person signs in.

Recorded on the trail; starts no mail.

Segment: docs, connections/spec/b2b-saas.md. mParticle: a custom event of the same name. Tealium: `user_login`.
Listed in `catalog/events/__init__.py`.
"""

from __future__ import annotations

from freshgate import EventType, From

SIGNED_IN = EventType(
    name="Signed In",
    sources={
        "segment": From(when={"type": "track", "event": "Signed In"}),
        "mparticle": From(when={"event_type": "custom_event", "data.event_name": "Signed In"}),
        "tealium": From(when={"tealium_event": "user_login"}),
    },
)
