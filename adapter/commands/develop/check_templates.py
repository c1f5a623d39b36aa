"""Tries the catalog's templates on what the triggers compose, and finds variables that no mail would have.

`check.py` collects the faults; `freshgate/templates.py` renders, `samples.py` makes up the states.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from adapter.commands.develop.check_functions import ALWAYS_STORED
from adapter.commands.develop.check_needs import fallback_variants
from adapter.commands.develop.check_triggers import known_marks
from adapter.commands.develop.faults import Fault
from adapter.commands.develop.places import is_own, place_of, short_path
from adapter.commands.develop.samples import sample_about, sample_states
from freshgate.declare import EventType, Trigger
from freshgate.errors import CatalogError, TemplateError
from freshgate.templates import FOLDER, PROVIDED, SUFFIX, Templates, load_templates

LINK = "unsubscribe_url"
# What a CatalogError of a template begins with.
PLACE = re.compile(rf"{FOLDER}/([^:]+?)(?::(\d+))?: (.*)", re.DOTALL)


def template_faults(catalog: ModuleType) -> Iterator[Fault]:
    """Templates that cannot be compiled, that need what their trigger does not compose, or that nobody uses; marketing
    mail without a link to unsubscribe. A catalog without templates has no such fault."""
    package = catalog.__name__
    folder = Path(catalog.__file__ or "").parent / FOLDER
    try:
        templates = load_templates(package)
    except CatalogError as error:
        match = PLACE.fullmatch(str(error))
        place = f"{short_path(str(folder / match[1]))}:{match[2] or 1}" if match else short_path(str(folder))
        yield Fault(place, match[3] if match else str(error))
        return
    used = set()
    events = {event.name: event for event in catalog.EVENTS}
    own = [trigger for trigger in catalog.TRIGGERS if is_own(trigger, package)]
    # The fallbacks of another catalog's trigger have their templates there.
    fallbacks = [variant for trigger in own for variant in fallback_variants(trigger)]
    for trigger in (*catalog.TRIGGERS, *fallbacks):
        name = trigger.template_name
        if name in templates.names:
            used.add(name)
            yield from _faults_of(trigger, templates, events, catalog, folder)
        elif trigger.template:
            place = place_of(trigger, package, "template")
            yield Fault(place, f"trigger {trigger.name}: there is no template {name!r} in {short_path(str(folder))}")
    for name in templates.names:
        if name not in used:
            file = templates.files(name)[0]
            yield Fault(_place(folder, file), f"template {name}: no trigger has it; name it like one")


def _faults_of(
    trigger: Trigger, templates: Templates, events: Mapping[str, EventType], catalog: ModuleType, folder: Path
) -> Iterator[Fault]:
    name, head = trigger.template_name, f"trigger {trigger.name}: "
    composed = list(_composed(trigger, events, catalog))
    names = {key for _, template_data, _ in composed for key in template_data} | set(PROVIDED)
    for language in templates.languages(name):
        lines = {file: templates.variables(file) for file in templates.files(name, language)}
        unknown = [(file, key, line) for file, keys in lines.items() for key, line in keys.items() if key not in names]
        for file, key, line in unknown:
            known = ", ".join(sorted(names))
            yield Fault(_place(folder, file, line), f"{head}its template uses {key!r}, but compose gives {known}")
        if trigger.kind == "marketing":
            for file in lines:
                if not templates.mentions(file, LINK) and not file.endswith(".subject"):
                    text = f"marketing mail without {LINK}; write {{{{ {LINK} }}}} where readers unsubscribe"
                    yield Fault(_place(folder, file), head + text)
        if not unknown:
            leaves = [(case, template_data) for case, template_data, would_leave in composed if would_leave]
            yield from _missing(trigger, templates, language, leaves, folder)


def _missing(
    trigger: Trigger, templates: Templates, language: str, composed: list[tuple[str, dict[str, Any]]], folder: Path
) -> Iterator[Fault]:
    """What some mails would lack: rendered with the least that compose gives."""
    link = {LINK: "https://shop.example/unsubscribe"} if trigger.kind == "marketing" else {}
    for case, template_data in composed:
        try:
            templates.render(trigger.template_name, {**template_data, **link}, language)
        except TemplateError as error:
            file = next((file for file in templates.sources if f" {file} " in str(error)), "")
            text = f"{error} where {case}; write {{% if … is defined %}} around it"
            yield Fault(_place(folder, file), f"trigger {trigger.name}: {text}")
            return


def _composed(
    trigger: Trigger, events: Mapping[str, EventType], catalog: ModuleType
) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """(case, template data, whether its mail would leave) of each made-up state."""
    traits = ALWAYS_STORED | {name for event in events.values() for name in event.profile}
    # Of all marks, some withdraw the mail: so also those alone that what starts the trigger moves forward.
    own = {trigger.about, *(mark for name in trigger.on if name in events for mark in events[name].marks)}
    for marks in (known_marks(catalog.TRIGGERS, events), own):
        for case, person in sample_states(traits, marks, trigger.about):
            about = sample_about(trigger, case, events)
            try:
                withdrawn, template_data = trigger.withdrawn(person, about), trigger.compose(person, about)
            except Exception:  # Reported there.
                continue
            if isinstance(template_data, dict):
                yield case, template_data, withdrawn is None


def _place(folder: Path, file: str, line: int = 1) -> str:
    return f"{short_path(str(folder / file))}{SUFFIX if file else ''}:{line}"
