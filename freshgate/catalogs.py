"""Loads the catalog that the settings name, checks it, and applies the settings' overrides to its triggers.

Every process calls it at start; a catalog that contradicts itself stops the start.
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

# Environment variable: the folder of a checked copy (`adapter/catalog_copy.py`), which is imported in place of the
# catalog on the Python path.
COPY = "FRESHGATE_CATALOG_COPY"


def load_event_types(settings: Settings) -> tuple[EventType, ...]:
    """The catalog's event types. Raises CatalogError when it cannot be imported, or declares a name twice."""
    events: tuple[EventType, ...] = _load(settings.catalog).EVENTS
    names = [event_type.name for event_type in events]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise CatalogError(f"catalog {settings.catalog}: declared twice in EVENTS: {', '.join(duplicates)}")
    for event_type in events:
        if event_type.instead and event_type.instead[0] not in names:
            raise CatalogError(f"{event_type.name}: {event_type.instead[0]!r} in `instead` is not in EVENTS")
    return events


def load_triggers(settings: Settings) -> tuple[Trigger, ...]:
    """The catalog's triggers, with the settings' overrides. Raises CatalogError, and SettingsError for a trigger that
    the catalog does not have."""
    catalog = _load(settings.catalog)
    event_types = {event_type.name: event_type for event_type in catalog.EVENTS}
    triggers: tuple[Trigger, ...] = catalog.TRIGGERS
    names = {trigger.name for trigger in triggers}
    for name in settings.triggers:
        if name not in names:
            raise SettingsError(f"triggers.{name}: no such trigger; known: {', '.join(sorted(names))}")
    return tuple(_checked(_with_overrides(trigger, settings), event_types) for trigger in triggers)


def _load(name: str) -> Any:
    copy = os.environ.get(COPY)
    if copy:
        # Where the link points now: it may be moved while we import.
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


def _with_overrides(trigger: Trigger, settings: Settings) -> Trigger:
    overrides = settings.triggers.get(trigger.name, TriggerSettings())
    changes: dict[str, Any] = {
        field: value for field, value in msgspec.structs.asdict(overrides).items() if value is not None
    }
    changes["address_cap"] = settings.address_cap
    return msgspec.structs.replace(trigger, **changes)


def _checked(trigger: Trigger, event_types: dict[str, EventType]) -> Trigger:
    if trigger.max_age <= 0:
        raise CatalogError(f"trigger {trigger.name}: max_age must be more than 0")
    if trigger.max_age < trigger.delay:
        raise CatalogError(f"trigger {trigger.name}: max_age is shorter than its delay, so it could never send")
    for name in trigger.on:
        if name not in event_types:
            raise CatalogError(f"trigger {trigger.name} starts on {name!r}, but no event type has that name")
        if trigger.about not in event_types[name].marks and trigger.starts is None:
            raise CatalogError(
                f"trigger {trigger.name} is about the mark {trigger.about!r}, which {name!r} does not advance"
            )
    return trigger
