"""Finds faults of a catalog's triggers: events that never start them, limits that cannot be meant.

`check.py` collects the faults; `check_functions.py` runs the triggers' own functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType

from adapter.commands.develop.check_functions import function_faults
from adapter.commands.develop.check_needs import need_faults
from adapter.commands.develop.check_subjects import subject_faults
from adapter.commands.develop.faults import Fault
from adapter.commands.develop.places import place_of, place_of_catalog
from adapter.sources import SOURCES
from freshgate.declare import HOUR, MINUTE, EventType, Trigger
from freshgate.durations import format_duration
from freshgate.settings import Settings
from freshgate.settings_parsing import setting_name
from freshgate.state.plans import ORDER_TTL
from freshgate.state.profiles import PERSON_TTL

# Half a day in seconds: who writes seconds writes 86400, or a multiple.
HALF_DAY_S = 43_200


def trigger_faults(catalog: ModuleType, settings: Settings) -> Iterator[Fault]:
    """All faults of `catalog.TRIGGERS`, and settings that override a trigger which does not exist."""
    package = catalog.__name__
    events: dict[str, EventType] = {event.name: event for event in catalog.EVENTS}
    names: set[str] = set()
    for trigger in catalog.TRIGGERS:
        if trigger.name in names:
            yield Fault(place_of(trigger, package), f"trigger {trigger.name!r} stands in TRIGGERS twice")
        names.add(trigger.name)
        marks = known_marks(catalog.TRIGGERS, events)
        yield from _start_faults(trigger, events, package)
        yield from subject_faults(trigger, events, package)
        yield from need_faults(trigger, catalog, events)
        yield from _limit_faults(trigger, marks, package)
        yield from function_faults(trigger, marks, events, package)
    if package == settings.catalog:
        yield from _override_faults(catalog, settings)


def _override_faults(catalog: ModuleType, settings: Settings) -> Iterator[Fault]:
    triggers: dict[str, Trigger] = {trigger.name: trigger for trigger in catalog.TRIGGERS}
    place = place_of_catalog(catalog.__name__)
    for name, override in sorted(settings.triggers.items()):
        if name not in triggers:
            yield Fault(place, f"the settings override triggers.{name}, but there is no such trigger")
        elif override.kind == "marketing" and not (override.cap or triggers[name].cap):
            key = setting_name("triggers", name, "cap")
            yield Fault(place, f"the settings make {name} marketing without a cap; write {key}, such as 1/24h")


def known_marks(triggers: Sequence[Trigger], events: Mapping[str, EventType]) -> set[str]:
    """Every mark that some event moves forward."""
    marks = {mark for event in events.values() for mark in event.marks}
    marks |= {event.suppresses for event in events.values() if event.suppresses}
    # A trigger with a condition of its own sets its mark itself.
    return marks | {trigger.about for trigger in triggers if trigger.starts is not None}


def _start_faults(trigger: Trigger, events: Mapping[str, EventType], package: str) -> Iterator[Fault]:
    head = f"trigger {trigger.name}: "
    for name in trigger.on:
        event = events.get(name)
        place = place_of(trigger, package, "on", name)
        if event is None:
            yield Fault(place, f"{head}starts on {name!r}, but there is no such event type")
            continue
        if trigger.about not in event.marks and trigger.starts is None:
            yield Fault(place, f"{head}is about {trigger.about!r}, which {name!r} does not mark")
        if trigger.subject == "order" and event.order != "completed":
            yield Fault(place, f"{head}has an order as its subject, but {name!r} does not complete an order")
        for field in (need for need in trigger.needs if isinstance(need, str)):
            if field not in event.fields:
                yield Fault(place_of(trigger, package, "needs"), f"{head}needs {field!r}, which {name!r} never has")
    sent = [name for name in trigger.on if name in events and any(kind in SOURCES for kind in events[name].sources)]
    if not sent and all(name in events for name in trigger.on):
        reason = "`on` is empty" if not trigger.on else "no source can send " + " or ".join(trigger.on)
        yield Fault(place_of(trigger, package, "on"), f"{head}starts on nothing: {reason}")


def _limit_faults(trigger: Trigger, marks: set[str], package: str) -> Iterator[Fault]:
    head = f"trigger {trigger.name}: "
    yield from _duration_faults(trigger, package)
    if trigger.max_age <= 0:
        yield Fault(place_of(trigger, package, "max_age"), f"{head}max_age must be more than 0")
    elif trigger.max_age < trigger.delay:
        place = place_of(trigger, package, "max_age")
        yield Fault(place, f"{head}max_age is shorter than its delay, so it could never send")
    memory, what = (ORDER_TTL, "an order") if trigger.subject == "order" else (PERSON_TTL, "a person")
    if trigger.delay >= memory:
        reason = f"what is known of {what} is kept for {format_duration(memory)}, so it could never send"
        yield Fault(
            place_of(trigger, package, "delay"), f"{head}its delay is {format_duration(trigger.delay)}, but {reason}"
        )
    if trigger.kind == "marketing" and trigger.cap is None:
        advice = 'write how many a person gets, such as cap="1/24h"'
        yield Fault(place_of(trigger, package, "kind"), f"{head}marketing without a cap: {advice}")
    if trigger.version is not None and trigger.version not in marks:
        place = place_of(trigger, package, "version")
        yield Fault(place, f"{head}its version is {trigger.version!r}, which no event type marks")


def _duration_faults(trigger: Trigger, package: str) -> Iterator[Fault]:
    """Durations in another unit than milliseconds, as far as their size gives them away."""
    windows = {"cap": trigger.cap[1]} if trigger.cap else {}
    durations = {"max_age": trigger.max_age, "delay": trigger.delay, "settle": trigger.settle or 0, **windows}
    for name, ms in durations.items():
        minimum = MINUTE if name in ("max_age", "cap") else 1000
        in_seconds = ms % 1000 != 0 or (ms % HALF_DAY_S == 0 and ms % MINUTE != 0)
        if ms > 0 and (ms < minimum or in_seconds):
            text = f"{name} is {ms} ms ({ms / 1000:g} s); write what is meant, such as {_example(name, ms)}"
            yield Fault(place_of(trigger, package, name), f"trigger {trigger.name}: {text}")


def _example(name: str, number: int) -> str:
    """The duration that the number would be in minutes or seconds: what the author probably means."""
    meant = number * 1000 if number * 1000 >= HOUR else number * MINUTE
    return f'{name}="1/{format_duration(meant)}"' if name == "cap" else f'{name}="{format_duration(meant)}"'
