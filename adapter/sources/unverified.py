"""What can be asked of a kind of source without anybody's secret: to read, and whose spelling it reads.

The commands use it. Nothing that arrives is ever verified with these settings.
"""

from __future__ import annotations

from functools import cache

from msgspec.structs import fields, replace

from adapter.sources import SOURCES
from freshgate.declare import EventType, From
from freshgate.errors import CatalogError
from freshgate.settings import SourceSettings

SECRETS = ("secrets", "tokens", "write_keys")
KNOWN = {field.name for field in fields(SourceSettings)}


def readable(settings: SourceSettings) -> SourceSettings:
    """The same settings; where they lack every secret, made-up ones."""
    names = [name for name in SECRETS if name in KNOWN]
    if any(getattr(settings, name) for name in names):
        return settings
    made_up: dict[str, tuple[str, ...]] = {name: ("not checked",) for name in names}
    return replace(settings, **made_up)


@cache
def spelling_of(kind: str) -> str:
    """Under which name the catalog spells event types for that kind: its own, or that of the CDP that it reads like.

    A spelling that cannot be compiled tells: only who reads it complains.
    """
    for name in (kind, *SOURCES):
        broken = EventType(name="?", sources={name: From(when={}, paths={"no field": "?"})})
        try:
            SOURCES[kind].configure("check", readable(SourceSettings(kind=kind)), [broken])
        except CatalogError:
            return name
    return kind
