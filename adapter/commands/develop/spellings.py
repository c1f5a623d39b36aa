"""How a new event type is named and spelled: its `when` for a kind of source, an example payload, and the command.

`new.py` writes them; `read.py` and `operate/unmapped.py` print the command for what arrived.
"""

from __future__ import annotations

import json
import keyword
import re
import shlex
from collections.abc import Collection, Mapping
from typing import Any

from jinja2 import Environment, StrictUndefined

from adapter.ingest.unmapped import MASKED
from adapter.sources import SOURCES
from adapter.sources.base import ExampleEvent
from freshgate.errors import FreshgateError

When = Mapping[str, str]
FLAT_PAYLOAD = """\
{
  "event": {{ name | tojson }},
  "user_id": "u-1",
  "plan": "fill in"
}
"""
# Without autoescape, since it is JSON.
_environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)


def names(name: str) -> dict[str, str]:
    """The name as texts, files, constants and classes have it. Raises FreshgateError for a name that cannot be used."""
    file = slug(name)
    if not file.isidentifier() or keyword.iskeyword(file) or not re.fullmatch(r"[^\"\\\x00-\x1f{}]{1,60}", name):
        raise FreshgateError(f"{name!r} cannot be a name here; write letters, digits and spaces, a letter first")
    title = name if " " in name or name != file else file.replace("_", " ").capitalize()
    class_name = "".join(word.capitalize() for word in file.split("_"))
    return {"name": name, "slug": file, "constant": file.upper(), "class_name": class_name, "title": title}


def slug(name: str) -> str:
    """An event type's name as it stands in file names."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def parse_when(texts: Collection[str]) -> When:
    """["event_type=session_start"] → {"event_type": "session_start"}. Raises FreshgateError for another form."""
    pairs = [text.partition("=") for text in texts]
    if not all(path and value for path, _, value in pairs):
        raise FreshgateError("--when: write PATH=TEXT, such as event_type=session_start")
    return {path: value for path, _, value in pairs}


def example_when(kind: str, forms: Mapping[str, str]) -> When:
    """The `when` of a shop's own event with these `names`."""
    return {path: text.format(**forms) for path, text in SOURCES[kind].example_event.when.items()}


def example_payload(kind: str, forms: Mapping[str, str], when: When) -> str:
    """The payload of such an event as that kind of source sends it, in which every condition of `when` holds."""
    example = SOURCES[kind].example_event
    template = example.payload.read_text(encoding="utf-8") if example.payload else FLAT_PAYLOAD
    text = _environment.from_string(template).render(**forms)
    if when == example_when(kind, forms):
        return text
    payload = json.loads(text)
    _set_conditions(payload, example, when)
    return json.dumps(payload, indent=2, ensure_ascii=False) + "\n"


def _set_conditions(payload: Any, example: ExampleEvent, when: When) -> None:
    element = payload
    for step in example.element:
        element = element[step]
    for path in example.when.keys() - when.keys():
        *steps, last = path.split(".")
        _object_at(element, steps).pop(last, None)
    for path, text in when.items():
        *steps, last = path.split(".")
        _object_at(element, steps)[last] = text


def _object_at(element: dict[str, Any], steps: list[str]) -> dict[str, Any]:
    for step in steps:
        element = element.setdefault(step, {})
    return element


def command_for(name: str, kind: str, existing: Collection[str]) -> str:
    """What to do about an unmapped event, in a line: the command that adds an event type, or why there is none.

    existing  the names of the catalog's event types
    """
    spelled = SOURCES[kind].spelling if kind in SOURCES else kind
    when = SOURCES[spelled].spell(name) if spelled in SOURCES else None
    if when is None:
        return "it says nothing that an event type could be about"
    if MASKED in name:
        return "its name holds an address or a number, so it differs each time; give it one name where it is sent"
    if "audience" in when:
        return f'write into an event type: "{spelled}": From(when={json.dumps(when, ensure_ascii=False)})'
    title = _title([*when.values()][-1])
    if title in existing:
        return f'{title} has an event type; write there: "{spelled}": From(when={json.dumps(when)})'
    command = f"freshgate new event {shlex.quote(title)} --from {kind}"
    try:
        is_default = when == example_when(spelled, names(title))
    except FreshgateError:
        command = f"freshgate new event NAME --from {kind}"
        is_default = False
    return command + ("" if is_default else "".join(f" --when {shlex.quote(f'{p}={t}')}" for p, t in when.items()))


def _title(text: str) -> str:
    """A canonical name for it: "session_start" → "Session Start"; what has blanks or capitals stays as it is."""
    return text if re.search(r"[A-Z ]", text) else re.sub(r"[_\-.]+", " ", text).strip().title()
