"""Settings with which a source can read although nobody has its secret: for `check` and `read`, which only read.

Nothing that arrives is ever verified with them.
"""

from __future__ import annotations

from msgspec.structs import replace

from freshgate.settings import SourceSettings

PLACEHOLDER = ("not checked",)


def readable(settings: SourceSettings) -> SourceSettings:
    """The same settings; where they have no secret at all, a made-up one of each sort."""
    if settings.secrets or settings.tokens or settings.write_keys:
        return settings
    return replace(settings, secrets=PLACEHOLDER, tokens=PLACEHOLDER, write_keys=PLACEHOLDER)
