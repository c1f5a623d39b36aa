"""Runs `withdrawn`, `compose` and `starts` of a trigger on made-up states, and finds what they get wrong.

`check_triggers.py` yields these faults; `samples.py` makes the states, `check_clock.py` finds what reads the clock.
"""

from __future__ import annotations

import inspect
import json
import re
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from adapter.commands.develop.check_clock import impure_calls
from adapter.commands.develop.check_needs import fallback_variants
from adapter.commands.develop.faults import Fault
from adapter.commands.develop.places import files_of, place_of, short_path
from adapter.commands.develop.samples import RecordingSubject, sample_about, sample_events, sample_states
from freshgate.declare import WITHDRAWN_OUTCOMES, EventType, Trigger, Withdrawn

# The planner stores these traits of every event that has them (freshgate/state/planner.py).
ALWAYS_STORED = {"email", "id"}
FUNCTIONS = ("withdrawn", "compose", "starts")
# Why what a function asks for is never there.
REASONS = {
    "trait": "which no event type keeps in its `profile`",
    "mark": "which no event type marks",
    "subject's mark": "which is neither its `about` nor in its `marks`",
}
REASON = re.compile(r"[a-z][a-z0-9_]{0,39}")


def function_faults(
    trigger: Trigger, marks: set[str], events: Mapping[str, EventType], package: str
) -> Iterator[Fault]:
    """What the three functions return, raise and ask for; and whether they are functions of the state alone."""
    traits = ALWAYS_STORED | {name for event in events.values() for name in event.profile}
    head = f"trigger {trigger.name}: "
    # What is asked for and never there → the function that asks.
    missing: dict[tuple[str, str], str] = {}
    for case, person in sample_states(traits, marks, trigger.about):
        for name in ("withdrawn", "compose"):
            person.traits.clear()
            person.marks.clear()
            about = sample_about(trigger, case, events)
            yield from _call(trigger, name, (person, about), case, package)
            if isinstance(about, RecordingSubject):
                known = {trigger.about, trigger.version, *trigger.marks}
                missing |= {("subject's mark", mark): name for mark in sorted(about.asked - known)}
            missing |= {("trait", trait): name for trait in sorted(person.traits - traits)}
            missing |= {("mark", mark): name for mark in sorted(person.marks - marks)}
        for variant in fallback_variants(trigger):
            yield from _call(variant, "compose", (person, sample_about(trigger, case, events)), case, package)
    if trigger.starts is not None:
        for event in (events[name] for name in trigger.on if name in events):
            for case, sample in sample_events(event):
                yield from _call(trigger, "starts", (sample,), case, package)
    for (what, name), function in missing.items():
        reason = REASONS[what]
        text = f"{head}{function} asks for the {what} {name!r}, {reason}"
        yield Fault(_place_in_function(trigger, function, name, package), text)
    for name in FUNCTIONS:
        for file, line, call in impure_calls(getattr(trigger, name)):
            text = f"{name} calls {call}; it may read only the state that it is handed, so that it can be asked again"
            yield Fault(f"{short_path(file)}:{line}", f"{head}{text}")


def _call(trigger: Trigger, name: str, arguments: tuple[Any, ...], case: str, package: str) -> Iterator[Fault]:
    head = f"trigger {trigger.name}: "
    try:
        result = getattr(trigger, name)(*arguments)
    except Exception as error:  # Whatever the catalog's own function does wrong.
        place = _place_of_error(error, trigger, name, package)
        yield Fault(place, f"{head}{name} fails where {case}: {type(error).__name__}: {error}")
        return
    if inspect.iscoroutine(result):
        result.close()
    check = {"withdrawn": _withdrawn_fault, "compose": _compose_fault, "starts": _starts_fault}[name]
    text = check(result)
    if text:
        yield Fault(_place_of_function(trigger, name, package), f"{head}{name} returns {text}")


def _withdrawn_fault(result: Any) -> str:
    if result is None:
        return ""
    if not isinstance(result, Withdrawn):
        return f'{result!r:.80}; write None, or Withdrawn("cancelled", "reason", {{"mark": mark.at}})'
    if result.outcome not in WITHDRAWN_OUTCOMES:
        return f"the outcome {result.outcome!r}; write {' or '.join(WITHDRAWN_OUTCOMES)}"
    if not isinstance(result.reason, str) or not REASON.fullmatch(result.reason):
        return f'the reason {result.reason!r}, which is not a word of metrics; write one such as "cart_empty"'
    compared: Any = result.compared
    if not isinstance(compared, Mapping) or not all(type(at) is int for at in compared.values()):
        return f'{compared!r:.80} as what it compared; write times by name, such as {{"cart": mark.at}}'
    return ""


def _compose_fault(result: Any) -> str:
    if not isinstance(result, dict):
        return f'{result!r:.80}; write a dict of the template\'s data, such as {{"first_name": ""}}'
    for name, value in result.items():
        try:
            json.dumps({name: value}, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            return f"{name!r} as {type(value).__name__}, which is not JSON; write texts, numbers, lists and dicts"
    return ""


def _starts_fault(result: Any) -> str:
    return "" if type(result) is bool else f"{result!r:.80}; write True or False, such as bool(…) or … is not None"


def _place_of_error(error: Exception, trigger: Trigger, name: str, package: str) -> str:
    """The catalog's own line that failed, or called what failed."""
    own = {str(file.resolve()) for file in files_of(package)}
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if str(Path(frame.filename).resolve()) in own
    ]
    if frames:
        return f"{short_path(frames[-1].filename)}:{frames[-1].lineno}"
    return _place_of_function(trigger, name, package)


def _place_of_function(trigger: Trigger, name: str, package: str) -> str:
    code = getattr(getattr(trigger, name), "__code__", None)
    return f"{short_path(code.co_filename)}:{code.co_firstlineno}" if code else place_of(trigger, package, name)


def _place_in_function(trigger: Trigger, function: str, name: str, package: str) -> str:
    """The line of the function that has the name in it; the trigger's own if the function has no readable code."""
    code = getattr(getattr(trigger, function), "__code__", None)
    if code is None:
        return place_of(trigger, package, function)
    try:
        lines = Path(code.co_filename).read_text(encoding="utf-8").splitlines()
    except OSError:
        return place_of(trigger, package, function)
    numbers = range(code.co_firstlineno, len(lines) + 1)
    line = next((number for number in numbers if f'"{name}"' in lines[number - 1]), code.co_firstlineno)
    return f"{short_path(code.co_filename)}:{line}"
