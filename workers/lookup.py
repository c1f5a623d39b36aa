"""Reads what decisions need: persons (through tombstones), orders, addresses; in few trips.

`courier.py` calls it once for a whole job, and again for one send whose records have moved on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import redis

from freshgate.declare import Trigger
from freshgate.state import keys
from freshgate.state.merge import MAX_HOPS
from freshgate.state.views import AddressView, OrderView, PersonView
from workers.gate import Records, address_of


class Lookup:
    """One Redis, one PII key, one grace for orders; and whether who has an order's address has ordered (a setting)."""

    def __init__(self, client: redis.Redis, pii_key: bytes, order_grace: int, *, email_identity: bool = False) -> None:
        self._client = client
        self._pii_key = pii_key
        self._order_grace = order_grace
        self._email_identity = email_identity

    def records(self, sends: Sequence[tuple[Trigger, str]]) -> dict[str, Records]:
        """Records by timer member; three trips for any number of sends."""
        subjects = {member: keys.parse_member(member)[2] for _, member in sends}
        order_ids = {subjects[member] for trigger, member in sends if trigger.subject == "order"}
        orders = {found.id: found for found in self._orders(order_ids)}
        owners: dict[str, str] = {}
        for trigger, member in sends:
            if trigger.subject == "order":
                told = orders[subjects[member]].order
                owners[member] = told.person if told else ""
            else:
                owners[member] = subjects[member]
        persons = self.persons(owners.values())
        found = {member: Records(persons[owners[member]], orders.get(subjects[member])) for _, member in sends}
        self._addresses((trigger, found[member]) for trigger, member in sends)
        return found

    def persons(self, ids: Iterable[str]) -> dict[str, PersonView]:
        """Persons by the id that was asked for; the view's own id is the one that tombstones led to."""
        current = {entity_id: entity_id for entity_id in set(ids)}
        # Of an order whose record is gone nobody knows the person.
        views: dict[str, PersonView] = {"": PersonView("", {}, self._order_grace)}
        for _ in range(MAX_HOPS):
            missing = sorted(set(current.values()) - set(views))
            if not missing:
                break
            for entity_id, raw in zip(missing, self._hashes(keys.person(one) for one in missing), strict=True):
                views[entity_id] = PersonView(entity_id, raw, self._order_grace)
            for asked, at in current.items():
                if at in views and views[at].moved_to:
                    current[asked] = views[at].moved_to or at
        return {asked: views[at] for asked, at in current.items()}

    def _orders(self, ids: Iterable[str]) -> list[OrderView]:
        wanted = sorted(set(ids))
        hashes = self._hashes(keys.entity("o", one) for one in wanted)
        return [OrderView(entity_id, raw) for entity_id, raw in zip(wanted, hashes, strict=True)]

    def _addresses(self, sends: Iterable[tuple[Trigger, Records]]) -> None:
        wanted: dict[str, list[Records]] = {}
        for trigger, records in sends:
            address = address_of(trigger, records)
            if address:
                wanted.setdefault(keys.address_id(self._pii_key, address), []).append(records)
        for entity_id, raw in zip(wanted, self._hashes(keys.entity("a", one) for one in wanted), strict=True):
            view = AddressView(entity_id, raw)
            for records in wanted[entity_id]:
                records.address = view
                if self._email_identity:
                    records.person.ordered_elsewhere = view.ordered

    def _hashes(self, names: Iterable[str]) -> list[Any]:
        pipe = self._client.pipeline(transaction=False)
        count = 0
        for name in names:
            pipe.hgetall(name)
            count += 1
        return pipe.execute() if count else []
