"""The state that `preview` composes a mail of: that of a payload pair, or of a person whom the system knows.

Reads Redis for the latter only, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from adapter.commands.develop.check_pairs import RECEIVED_AT, payload_folder
from adapter.commands.develop.places import place_of_catalog
from adapter.commands.develop.read import find_source
from adapter.commands.develop.samples import EVERYTHING, sample_about, sample_states
from adapter.commands.develop.spellings import slug
from adapter.commands.operate.trail_lookup import find_subject
from adapter.sources import SOURCES
from freshgate.catalogs import load_event_types
from freshgate.declare import Trigger
from freshgate.errors import RequestError, SettingsError
from freshgate.events import Event
from freshgate.local_settings import connect_local_store
from freshgate.settings import Settings
from freshgate.state import keys
from freshgate.state.orders import OrderView
from freshgate.state.planner import Plan, Planner
from freshgate.state.views import PersonView, SubjectView


class State(NamedTuple):
    """What `compose` is called with. `origin` says where it comes from, for people."""

    person: PersonView
    about: OrderView | SubjectView | None
    origin: str


def sample_state(settings: Settings, trigger: Trigger) -> State:
    """The state after the first payload pair that starts the trigger; a made-up one where there is none."""
    planner = Planner(load_event_types(settings), [trigger], b"preview")
    for path, event in _events(settings, trigger):
        plan = planner.plan(event)
        if plan.starts:
            return _after(plan, trigger, settings, str(path))
    marks = {trigger.about, *(mark for name in trigger.on for mark in planner.types[name].marks)}
    traits = {"email", "id", *(name for event in planner.types.values() for name in event.profile)}
    person = next(person for case, person in sample_states(traits, marks, trigger.about) if case == EVERYTHING)
    return State(person, sample_about(trigger, EVERYTHING, planner.types), "a made-up person")


def known_state(settings: Settings, trigger: Trigger, searched_id: str) -> State:
    """The state of a person or an order now. Raises SettingsError where nothing is known of that id."""
    client = connect_local_store(settings)
    subject = find_subject(client, settings, searched_id)
    if subject is None or subject.person is None or subject.send:
        raise SettingsError(f"--person {searched_id}: nothing is known of it")
    order_id = keys.order_id(subject.shop, searched_id) if subject.known_as == "order" else ""
    records = _records(client, subject.shop, subject.person)
    is_transactional = trigger.kind == "transactional"
    person = PersonView(subject.person, records, settings.order_grace, trusted_only=is_transactional)
    if isinstance(trigger.subject, tuple):
        about = _newest_subject(person, trigger.about)
        if about is None:
            raise SettingsError(f"--person {searched_id}: no {' and '.join(trigger.subject)} is known")
        return State(person, about, f"person {subject.person}")
    if trigger.subject != "order":
        return State(person, None, f"person {subject.person}")
    # Of a person, the newest order: each line is "<stamp> <order>\t<products>".
    newest = max((line for _, fields in records for line in fields.get("O", "").split("\n") if line), default="")
    order_id = order_id or newest.partition("\t")[0].partition(" ")[2]
    fields = _fields(client, keys.order(subject.shop, order_id)) if order_id else {}
    if not fields:
        raise SettingsError(f"--person {searched_id}: no order is known; name one by its id")
    return State(person, OrderView(order_id, fields), f"order {order_id}")


def _events(settings: Settings, trigger: Trigger) -> Iterator[tuple[Path, Event]]:
    """The events of the payloads that may start the trigger: the full ones first, in the order of SOURCES."""
    types = load_event_types(settings)
    folder = payload_folder(Path(place_of_catalog(settings.catalog).rpartition(":")[0]).parent)
    for name in trigger.on:
        paths = [path for path in folder.glob(f"*/{slug(name)}__*.json") if ".expected." not in path.name]
        for path in sorted(paths, key=_preference):
            try:
                source = find_source(settings, path.parent.name, types)
                verdicts = source.read(path.read_bytes(), RECEIVED_AT)
            except (SettingsError, RequestError):
                continue
            yield from ((path, verdict) for verdict in verdicts if isinstance(verdict, Event) and verdict.name == name)


def _preference(path: Path) -> tuple[bool, int, str]:
    kinds, kind = list(SOURCES), path.parent.name
    return not path.stem.endswith("__full"), kinds.index(kind) if kind in kinds else len(kinds), str(path)


def _after(plan: Plan, trigger: Trigger, settings: Settings, origin: str) -> State:
    """What `record.lua` would make of the plan on an empty Redis, as far as mails are composed of it."""
    body = plan.body
    fields = {field: stamp + value for field, stamp, value in body.get("regs", ())}
    for line, stamp, amount, product in body.get("lines", ()):
        fields |= {f"+{line}": stamp + product, f"n:{line}": stamp + amount}
    if "clear" in body:
        fields["cc"] = body["clear"]
    person = PersonView(plan.person, [(plan.person, fields)], settings.order_grace)
    if isinstance(trigger.subject, tuple):
        return State(person, _newest_subject(person, trigger.about), origin)
    if trigger.subject != "order" or "order" not in body:
        return State(person, None, origin)
    order_id, registers, firsts, *_ = body["order"]
    order: dict[str, Any] = {field: stamp + value for field, stamp, value in (*registers, *firsts)}
    return State(person, OrderView(order_id, order), origin)


def _newest_subject(person: PersonView, mark: str) -> SubjectView | None:
    """Of a person, the subject of which that mark is newest."""
    stamps = {field: register.stamp for field in person.fields(f"s:{mark}#") if (register := person.register(field))}
    return person.subject(max(stamps, key=lambda field: stamps[field]).partition("#")[2]) if stamps else None


def _records(client: Any, shop: str, person: str) -> list[tuple[str, dict[str, str]]]:
    root = _fields(client, keys.person(shop, person))
    return [(person, root), *((name, _fields(client, keys.person(shop, name))) for name in root.get("ids", "").split())]


def _fields(client: Any, key: str) -> dict[str, str]:
    return {name.decode(): value.decode("utf-8", "replace") for name, value in client.hgetall(key).items()}
