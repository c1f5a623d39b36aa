"""Finds the catalog that the settings name, checks it, and lays the settings' overrides over its triggers.

Both processes call it at start; a catalog that contradicts itself stops the start.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import msgspec

from freshgate.declare import EventType, Trigger
from freshgate.errors import CatalogError, SettingsError
from freshgate.settings import Settings, TriggerSettings

# Names the folder of a checked copy (`catalog_copy.py`), which is loaded in place of what stands in the path.
COPY = "FRESHGATE_CATALOG_COPY"


def load_event_types(settings: Settings) -> tuple[EventType, ...]:
    """The event types of the catalog, each name once."""
    events: tuple[EventType, ...] = _load(settings.catalog).EVENTS
    names = [event_type.name for event_type in events]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CatalogError(f"catalog {settings.catalog}: declared twice: {', '.join(twice)}")
    return events


def load_triggers(settings: Settings) -> tuple[Trigger, ...]:
    """The triggers of the catalog, as the settings override them."""
    catalog = _load(settings.catalog)
    known = {event_type.name: event_type for event_type in catalog.EVENTS}
    triggers: tuple[Trigger, ...] = catalog.TRIGGERS
    names = {trigger.name for trigger in triggers}
    for name in settings.triggers:
        if name not in names:
            raise SettingsError(f"triggers.{name}: no such trigger; known: {', '.join(sorted(names))}")
    return tuple(_checked(_overridden(trigger, settings), known) for trigger in triggers)


def _load(name: str) -> Any:
    copy = os.environ.get(COPY)
    if copy:
        # Where the link points now: it may be moved on while we import.
        folder = os.path.realpath(copy)
        if os.path.isdir(folder) and sys.path[:1] != [folder]:
            sys.path.insert(0, folder)
    try:
        catalog = import_module(name)
    except ImportError as error:
        raise CatalogError(f"catalog = {name!r} cannot be imported: {error}") from error
    for table in ("EVENTS", "TRIGGERS"):
        if not hasattr(catalog, table):
            raise CatalogError(f"catalog {name} has no table {table}")
    return catalog


def _overridden(trigger: Trigger, settings: Settings) -> Trigger:
    wanted = settings.triggers.get(trigger.name, TriggerSettings())
    changes: dict[str, Any] = {
        field: value for field, value in msgspec.structs.asdict(wanted).items() if value is not None
    }
    changes["address_cap"] = settings.address_cap
    return msgspec.structs.replace(trigger, **changes)


def _checked(trigger: Trigger, known: dict[str, EventType]) -> Trigger:
    if trigger.max_age <= 0:
        raise CatalogError(f"trigger {trigger.name}: max_age must be more than 0")
    if trigger.max_age < trigger.delay:
        raise CatalogError(f"trigger {trigger.name}: max_age is shorter than its delay, so it could never send")
    for name in trigger.on:
        if name not in known:
            raise CatalogError(f"trigger {trigger.name} starts on {name!r}, which no event type is called")
        if trigger.about not in known[name].marks and trigger.starts is None:
            raise CatalogError(f"trigger {trigger.name} is about {trigger.about!r}, which {name!r} does not mark")
    return trigger
