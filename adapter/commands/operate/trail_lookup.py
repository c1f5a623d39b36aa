"""Finds the person whose trail is meant by a user id, an anonymous id, an address, an order id or a send's id.

`why.py` prints the trail. Reads only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from freshgate.ids import address_in, trim
from freshgate.settings import Settings
from freshgate.state import keys
from freshgate.state.orders import OrderView
from freshgate.state.store import fcall, scan, with_library

SEND_ID = re.compile(r"[0-9a-f]{24}")
SCAN_COUNT = 1000

SubjectType = Literal["person", "order", "send"]


class TrailSubject(msgspec.Struct, frozen=True):
    """What an id is, and the person whose trail tells of it.

    shop    the id space that knows it
    person  None for an order of which it is not known who completed it
    order   for an order: when it was completed, cancelled, refunded (ms), as far as known
    send    for a send: its id, so that only its lines are shown
    """

    shop: str
    person: str | None
    known_as: SubjectType
    order: dict[str, int] = {}
    send: str = ""


def find_subject(
    client: Any, settings: Settings, searched_id: str, only: SubjectType | None = None
) -> TrailSubject | None:
    """The person, else the order, else the send of that id; `only` one of them. Raises RedisError."""
    if only in (None, "person") and (person := _find_person(client, settings, searched_id)):
        return person
    if only in (None, "order") and (order := _find_order(client, settings, searched_id)):
        return order
    if only in (None, "send") and SEND_ID.fullmatch(searched_id):
        return _find_send(client, searched_id)
    return None


def find_roots(client: Any, shop: str, record_ids: Sequence[str]) -> list[str]:
    """The person that each record belongs to by now; empty where nothing is known. Raises RedisError."""
    reply = with_library(client, lambda: fcall(client, "find", keys.shop(shop), *record_ids))
    return [root.decode() for root in reply]


def _find_person(client: Any, settings: Settings, searched_id: str) -> TrailSubject | None:
    """The person behind an id of any id space, or behind an address."""
    # As the sources spell it.
    searched_id = trim(searched_id)
    searched_id = address_in(searched_id) or searched_id
    for shop in _id_spaces(settings):
        candidates = [keys.person_id(shop, searched_id), keys.person_id(shop, None, searched_id)]
        if "@" in searched_id:
            address_id = keys.address_id(settings.pii_key.encode(), searched_id)
            record = client.hgetall(keys.address(shop, address_id))
            holders = {name: stamp for name, stamp in record.items() if name.startswith(b"h:")}
            if holders:
                candidates.append(max(holders, key=holders.__getitem__)[2:].decode())
        for root in find_roots(client, shop, candidates):
            if root:
                return TrailSubject(shop, root, "person")
    return None


def _find_order(client: Any, settings: Settings, searched_id: str) -> TrailSubject | None:
    for shop in _id_spaces(settings):
        record_id = keys.order_id(shop, searched_id)
        raw = client.hgetall(keys.order(shop, record_id))
        if raw:
            fields = {name.decode(): value.decode("utf-8", "replace") for name, value in raw.items()}
            view = OrderView(record_id, fields)
            marks = {"completed": view.completed, "cancelled": view.cancelled, "refunded": view.refunded}
            times = {name: mark.at for name, mark in marks.items() if mark}
            return TrailSubject(shop, _find_buyer(client, shop, view) or None, "order", order=times)
    return None


def _find_buyer(client: Any, shop: str, order: OrderView) -> str:
    """Who completed the order as decisions have it, else whoever told it first: there the decisions on it stand."""
    # No trigger has that name: it asks for the order alone.
    timer = keys.timer("why", "o", order.id)
    reply = with_library(client, lambda: fcall(client, "read", keys.shop(shop), "", timer))
    root = bytes(reply[2][2]).decode()
    if not root and order.buyer:
        (root,) = find_roots(client, shop, [order.buyer])
    return root


def _find_send(client: Any, searched_id: str) -> TrailSubject | None:
    """Send ids have no index, so all trails are searched, about a thousand at a time."""
    wanted = f'"send":"{searched_id}"'.encode()
    for names in scan(client, f"{keys.PREFIX}*:p:*:dec", SCAN_COUNT):
        pipe = client.pipeline(transaction=False)
        for name in names:
            pipe.lrange(name, 0, -1)
        for name, entries in zip(names, pipe.execute(), strict=True):
            if any(wanted in entry for entry in entries):
                # fg:{main}:p:u3f…:dec
                head, _, record_id = bytes(name).decode().removesuffix(":dec").rpartition("}:p:")
                shop = head.removeprefix(f"{keys.PREFIX}{{")
                (root,) = find_roots(client, shop, [record_id])
                return TrailSubject(shop, root or record_id, "send", send=searched_id)
    return None


def _id_spaces(settings: Settings) -> list[str]:
    return sorted({source.id_space for source in settings.sources.values()} or {"main"})
