"""Whose trail is meant: by a user id, an anonymous id, an address, an order id, or the id of a send.

`adapter/commands/operate/why.py` prints the trail. Reads only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import msgspec

from freshgate.settings import Settings
from freshgate.state import keys
from freshgate.state.merge import resolve
from freshgate.state.views import OrderView

SEND_ID = re.compile(r"[0-9a-f]{24}")
AT_A_TIME = 1000

SubjectType = Literal["person", "order", "send"]


class TrailSubject(msgspec.Struct, frozen=True):
    """Whose trail, and as what the id was known. `person` is None for an order that nobody was told to have completed.

    order  for an order: when it was completed, cancelled, refunded (ms), as far as known
    send   for a send: its id, so that only its lines are shown
    """

    person: str | None
    known_as: SubjectType
    order: dict[str, int] = {}
    send: str = ""


def find_subject(client: Any, settings: Settings, asked: str, only: SubjectType | None = None) -> TrailSubject | None:
    """The first that the id is: a person, an order, a send. `only` looks for one of them. Raises RedisError."""
    if only in (None, "person") and (person := person_of(client, settings, asked)):
        return TrailSubject(person, "person")
    if only in (None, "order") and (order := _order(client, settings, asked)):
        return order
    if only in (None, "send") and SEND_ID.fullmatch(asked):
        return _send(client, asked)
    return None


def person_of(client: Any, settings: Settings, asked: str) -> str | None:
    """The living person behind an id of any id space, or behind an address."""
    candidates = []
    for space in _spaces(settings):
        candidates += [keys.person_id(space, asked, None), keys.person_id(space, None, asked)]
    if "@" in asked:
        address = keys.entity("a", keys.address_id(settings.pii_key.encode(), asked))
        found = client.hget(address, "m:who")
        if found:
            candidates.append(bytes(found)[22:].decode())
    for candidate in candidates:
        living = resolve(client, candidate)
        if client.exists(keys.person(living)):
            return living
    return None


def _order(client: Any, settings: Settings, asked: str) -> TrailSubject | None:
    for space in _spaces(settings):
        entity_id = keys.order_id(space, asked)
        raw = client.hgetall(keys.entity("o", entity_id))
        if raw:
            view = OrderView(entity_id, raw)
            marks = {"completed": view.completed, "cancelled": view.cancelled, "refunded": view.refunded}
            told = view.order.person if view.order else ""
            return TrailSubject(
                resolve(client, told) if told else None,
                "order",
                order={name: mark.at for name, mark in marks.items() if mark},
            )
    return None


def _send(client: Any, asked: str) -> TrailSubject | None:
    """Send ids have no index: the trails of everybody are looked through, a thousand at a time."""
    wanted = f'"send":"{asked}"'.encode()
    for names in _trails(client):
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.lrange(name, 0, -1)
        for name, entries in zip(names, pipe.execute(), strict=True):
            if any(wanted in entry for entry in entries):
                # fg:{s07}:p:u3f…:dec
                person = bytes(name).decode().removesuffix(":dec").rpartition(":")[2]
                return TrailSubject(resolve(client, person), "send", send=asked)
    return None


def _trails(client: Any) -> Iterator[Sequence[bytes]]:
    cursor = 0
    while True:
        cursor, names = client.scan(cursor, match=f"{keys.PREFIX}*:p:*:dec", count=AT_A_TIME)
        if names:
            yield names
        if cursor == 0:
            return


def _spaces(settings: Settings) -> list[str]:
    return sorted({source.id_space for source in settings.sources.values()} or {"main"})
