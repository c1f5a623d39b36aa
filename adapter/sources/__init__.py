"""The kinds of sources, by the name that `sources.<name>.kind` has in the settings.

A new kind is one file beside this one, which declares its SourceKind, and one line here.
"""

from __future__ import annotations

from msgspec.structs import replace

from adapter.sources.base import Source, SourceKind
from adapter.sources.customerio_reporting import CUSTOMERIO_REPORTING
from adapter.sources.mparticle.source import MPARTICLE
from adapter.sources.segment.kinds import CUSTOMERIO, HIGHTOUCH, RUDDERSTACK, SEGMENT
from adapter.sources.tealium.source import TEALIUM
from adapter.sources.tracking import TRACKING
from freshgate.catalogs import load_event_types
from freshgate.errors import SettingsError
from freshgate.settings import Settings, SourceSettings
from freshgate.settings_parsing import setting_name

SOURCES: dict[str, SourceKind[Source]] = {
    "segment": SEGMENT,
    "mparticle": MPARTICLE,
    "tealium": TEALIUM,
    "tracking": TRACKING,
    "rudderstack": RUDDERSTACK,
    "hightouch": HIGHTOUCH,
    "customerio": CUSTOMERIO,
    "customerio_reporting": CUSTOMERIO_REPORTING,
}


def configure_sources(settings: Settings) -> dict[str, Source]:
    """Every source of the settings, ready to verify and read. Raises SettingsError for one without a secret."""
    catalog = load_event_types(settings)
    sources = {}
    for name, source in settings.sources.items():
        bounded = replace(source, max_bytes=max_bytes(name, source))
        sources[name] = find_kind(name, source).configure(name, bounded, catalog)
    return sources


def max_bytes(name: str, source: SourceSettings) -> int:
    """The largest body that the source of this name takes: its setting's, or its kind's."""
    return source.max_bytes or find_kind(name, source).max_bytes


def find_kind(name: str, source: SourceSettings) -> SourceKind[Source]:
    """The kind of the source that has this name in the settings. Raises SettingsError where there is no such kind."""
    kind = SOURCES.get(source.kind)
    if kind is None:
        known = ", ".join(sorted(SOURCES))
        raise SettingsError(f"{setting_name('sources', name, 'kind')}: {source.kind!r}; write which CDP it is: {known}")
    return kind
