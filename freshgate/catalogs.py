"""Loads the catalog that the settings name, checks it, and applies the settings' overrides to its triggers.

Every process calls it at start; a catalog that contradicts itself stops the start.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from freshgate.asks import Ask
from freshgate.declare import FIRST_EVENT_MARK, EventType, Trigger
from freshgate.durations import format_duration
from freshgate.errors import CatalogError, SettingsError
from freshgate.needs import Segment, with_template_ids
from freshgate.outbound import UrlError, is_loopback, parse_url
from freshgate.settings import Settings, TriggerSettings
from freshgate.settings_parsing import setting_name

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
        if FIRST_EVENT_MARK in event_type.marks:
            raise CatalogError(f"{event_type.name}: the mark {FIRST_EVENT_MARK!r} is the engine's; choose another name")
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
            key = setting_name("triggers", name)
            raise SettingsError(f"{key}: no such trigger; known: {', '.join(sorted(names))}")
    for trigger in triggers:
        _check(trigger, event_types)
    _check_asks(triggers, settings)
    return tuple(_with_overrides(trigger, settings) for trigger in triggers)


def _check_asks(triggers: Iterable[Trigger], settings: Settings) -> None:
    asks: dict[str, Ask] = {}
    for ask in (ask for trigger in triggers for ask in trigger.asks):
        if asks.setdefault(ask.name, ask) != ask:
            raise CatalogError(f"Ask({ask.name!r}): two of that name differ; declare it once, or give one another name")
    for name, own in settings.asks.items():
        if name not in asks:
            nearest = get_close_matches(name, asks, n=1)
            known = f"write one of: {', '.join(asks)}" if asks else "the catalog asks nobody"
            advice = f"did you mean {nearest[0]!r}?" if nearest else known
            raise SettingsError(f"{setting_name('asks', name)}: no such Ask; {advice}")
        if own.base_url:
            _check_base_url(name, own.base_url)


def _check_base_url(name: str, base_url: str) -> None:
    key = setting_name("asks", name, "base_url")
    try:
        target = parse_url(base_url)
    except UrlError as error:
        raise SettingsError(f'{key}: {error}; write it like "https://shop.example"') from None
    if "?" in base_url:
        raise SettingsError(f"{key}: write it without ?")
    if target.scheme != "https" and not is_loopback(target.host):
        raise SettingsError(f"{key}: write https, so that nobody on the way reads or changes the answer")


def _load(name: str) -> Any:
    copy = os.environ.get(COPY)
    if copy:
        # Where the link points now: it may be moved while we import.
        folder = os.path.realpath(copy)
        if os.path.isdir(folder) and sys.path[:1] != [folder]:
            sys.path.insert(0, folder)
    try:
        catalog = import_module(name)
    except Exception as error:  # Whatever the catalog's files raise is the catalog's fault.
        place = _place_of(error, name.partition(".")[0])
        text = error.msg if isinstance(error, SyntaxError) else f"{type(error).__name__}: {error}"
        where = f"{place}: " if place else ""
        raise CatalogError(f"{setting_name('catalog')}: {name!r} cannot be imported: {where}{text}") from error
    for table, kind in (("EVENTS", EventType), ("TRIGGERS", Trigger)):
        entries = getattr(catalog, table, None)
        if not isinstance(entries, tuple) or not all(isinstance(entry, kind) for entry in entries):
            raise CatalogError(
                f"catalog {name} has no table {table}: a tuple of {kind.__name__}, such as {table} = (A, B)"
            )
    segments = getattr(catalog, "SEGMENTS", ())
    if not isinstance(segments, tuple) or not all(isinstance(segment, Segment) for segment in segments):
        raise CatalogError(
            f"catalog {name}: SEGMENTS is not a tuple of Segment; write SEGMENTS = (A, B), or leave it out"
        )
    return catalog


def _place_of(error: Exception, package: str) -> str:
    """`file:line` in the package where the error was raised; the same for the files as for a copy of them."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    spec = find_spec(package)
    home = Path(spec.origin).resolve() if spec and spec.origin else Path("/nowhere")
    # A package is its folder, a module its file.
    home = home.parent if home.name == "__init__.py" else home
    for file, line in reversed(places):
        if Path(file).resolve().is_relative_to(home):
            return f"{Path(file).resolve().relative_to(home.parent)}:{line}"
    return ""


def _with_overrides(trigger: Trigger, settings: Settings) -> Trigger:
    overrides = settings.triggers.get(trigger.name, TriggerSettings())
    changes: dict[str, Any] = {
        field: value for field, value in msgspec.structs.asdict(overrides).items() if value is not None
    }
    changes["address_cap"] = settings.address_cap
    if own_ids := changes.pop("fallback_template_ids", None):
        declared = list(dict.fromkeys(fallback.template_id for fallback in trigger.fallbacks))
        if len(own_ids) != len(declared):
            key = setting_name("triggers", trigger.name, "fallback_template_ids")
            written = ", ".join(declared) or "none"
            raise SettingsError(f"{key}: write one for each fallback, in this order: {written}")
        changes["needs"] = with_template_ids(trigger.needs, dict(zip(declared, own_ids, strict=True)))
    changes["esp"] = _account(trigger, overrides, settings)
    changed = msgspec.structs.replace(trigger, **changes)
    if changed.max_age < max(changed.delay, 1):
        name = next((name for name in ("delay", "max_age") if name in changes), "")
        if not name:
            raise CatalogError(
                f"trigger {trigger.name}: max_age must be more than 0 and longer than its delay, or it could never send"
            )
        times = f"max_age is {format_duration(changed.max_age)} and delay {format_duration(changed.delay)}"
        raise SettingsError(
            f"{setting_name('triggers', trigger.name, name)}: with it {times}, so no mail could ever leave; "
            "write a max_age that is longer than the delay"
        )
    return changed


def _account(trigger: Trigger, overrides: TriggerSettings, settings: Settings) -> str | None:
    """The account that sends the trigger's mails; None only where the settings have no account at all."""
    name = overrides.esp or trigger.esp
    if name and name not in settings.esps:
        key = setting_name("triggers", trigger.name, "esp")
        declared = "" if overrides.esp else "; the catalog declares it"
        nearest = get_close_matches(name, settings.esps, n=1)
        advice = f"did you mean {nearest[0]!r}?" if nearest else f"write one of: {', '.join(settings.esps)}"
        raise SettingsError(f"{key}: there is no account [esps.{name}]{declared}; {advice}")
    return name or next(iter(settings.esps), None)


def _check(trigger: Trigger, event_types: dict[str, EventType]) -> None:
    for name in trigger.on:
        if name not in event_types:
            raise CatalogError(f"trigger {trigger.name} starts on {name!r}, but no event type has that name")
        if trigger.about not in event_types[name].marks and trigger.starts is None:
            raise CatalogError(
                f"trigger {trigger.name} is about the mark {trigger.about!r}, which {name!r} does not advance"
            )
