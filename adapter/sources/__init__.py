"""The kinds of sources, by the name that `sources.<name>.kind` gives in the settings.

A new kind is one file beside this one and one line here.
"""

from __future__ import annotations

from adapter.sources.base import SourceKind
from adapter.sources.mparticle import MPARTICLE
from adapter.sources.segment import CUSTOMERIO, HIGHTOUCH, RUDDERSTACK, SEGMENT
from adapter.sources.tealium import TEALIUM
from adapter.sources.tracking import TRACKING

SOURCES: dict[str, SourceKind] = {
    kind.name: kind for kind in (SEGMENT, MPARTICLE, TEALIUM, TRACKING, RUDDERSTACK, HIGHTOUCH, CUSTOMERIO)
}
