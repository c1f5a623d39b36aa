"""The kinds of sources, by the name that `sources.<name>.kind` gives in the settings.

A new kind is one file beside this one and one line here.
"""

from __future__ import annotations

from adapter.sources.base import SourceKind
from adapter.sources.customerio_reporting import CUSTOMERIO_REPORTING
from adapter.sources.mparticle.source import MPARTICLE
from adapter.sources.segment.source import CUSTOMERIO, HIGHTOUCH, RUDDERSTACK, SEGMENT
from adapter.sources.tealium.source import TEALIUM
from adapter.sources.tracking import TRACKING

SOURCES: dict[str, SourceKind] = {
    "segment": SEGMENT,
    "mparticle": MPARTICLE,
    "tealium": TEALIUM,
    "tracking": TRACKING,
    "rudderstack": RUDDERSTACK,
    "hightouch": HIGHTOUCH,
    "customerio": CUSTOMERIO,
    "customerio_reporting": CUSTOMERIO_REPORTING,
}
