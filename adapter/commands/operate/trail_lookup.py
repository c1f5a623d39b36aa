"""Finds the person whose trail is meant by a user id, an anonymous id, an address, an order id or a send's id.

`why.py` prints the trail. Reads only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from freshgate.ids import address_in, trim
from freshgate.settings import Settings
from freshgate.state import keys
from freshgate.state.merge import resolve
from freshgate.state.views import OrderView

SEND_ID = re.compile(r"[0-9a-f]{24}")
SCAN_COUNT = 1000

SubjectType = Literal["person", "order", "send"]


class TrailSubject(msgspec.Struct, frozen=True):
    """What an id is, and the person whose trail tells of it.

    person  None for an order of which it is not known who completed it
    order   for an order: when it was completed, cancelled, refunded (ms), as far as known
    send    for a send: its id, so that only its lines are shown
    """

    person: str | None
    known_as: SubjectType
    order: dict[str, int] = {}
    send: str = ""


def find_subject(
    client: Any, settings: Settings, searched_id: str, only: SubjectType | None = None
) -> TrailSubject | None:
    """The person, else the order, else the send of that id; `only` one of them. Raises RedisError."""
    if only in (None, "person") and (person := _find_person(client, settings, searched_id)):
        return TrailSubject(person, "person")
    if only in (None, "order") and (order := _find_order(client, settings, searched_id)):
        return order
    if only in (None, "send") and SEND_ID.fullmatch(searched_id):
        return _find_send(client, searched_id)
    return None


def _find_person(client: Any, settings: Settings, searched_id: str) -> str | None:
    """The person behind an id of any id space, or behind an address; one who was merged leads to the person of now."""
    candidates = []
    # As the sources spell it.
    searched_id = trim(searched_id)
    searched_id = address_in(searched_id) or searched_id
    for space in _id_spaces(settings):
        candidates += [keys.person_id(space, searched_id, None), keys.person_id(space, None, searched_id)]
    if "@" in searched_id:
        address = keys.entity("a", keys.address_id(settings.pii_key.encode(), searched_id))
        stamped_person = client.hget(address, "m:who")
        if stamped_person:
            candidates.append(bytes(stamped_person)[22:].decode())
    for candidate in candidates:
        person = resolve(client, candidate)
        if client.exists(keys.person(person)):
            return person
    return None


def _find_order(client: Any, settings: Settings, searched_id: str) -> TrailSubject | None:
    for space in _id_spaces(settings):
        entity_id = keys.order_id(space, searched_id)
        raw = client.hgetall(keys.entity("o", entity_id))
        if raw:
            view = OrderView(entity_id, raw)
            marks = {"completed": view.completed, "cancelled": view.cancelled, "refunded": view.refunded}
            person = view.order.person if view.order else ""
            return TrailSubject(
                resolve(client, person) if person else None,
                "order",
                order={name: mark.at for name, mark in marks.items() if mark},
            )
    return None


def _find_send(client: Any, searched_id: str) -> TrailSubject | None:
    """Send ids have no index, so all trails are searched, about a thousand at a time."""
    wanted = f'"send":"{searched_id}"'.encode()
    for names in _trail_keys(client):
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.lrange(name, 0, -1)
        for name, entries in zip(names, pipe.execute(), strict=True):
            if any(wanted in entry for entry in entries):
                # fg:{s07}:p:u3f…:dec
                person = bytes(name).decode().removesuffix(":dec").rpartition(":")[2]
                return TrailSubject(resolve(client, person), "send", send=searched_id)
    return None


def _trail_keys(client: Any) -> Iterator[Sequence[bytes]]:
    cursor = 0
    while True:
        cursor, names = client.scan(cursor, match=f"{keys.PREFIX}*:p:*:dec", count=SCAN_COUNT)
        if names:
            yield names
        if cursor == 0:
            return


def _id_spaces(settings: Settings) -> list[str]:
    return sorted({source.id_space for source in settings.sources.values()} or {"main"})
