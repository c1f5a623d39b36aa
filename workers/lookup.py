"""Reads what decisions need in one call: persons with all their ids, orders, addresses, dues.

`courier.py` calls it once for a whole job, and again for one send whose records have moved on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import redis

from freshgate.declare import Trigger
from freshgate.events import Product
from freshgate.state import keys
from freshgate.state.orders import OrderView
from freshgate.state.products import parse_product
from freshgate.state.records import to_fields
from freshgate.state.restored import sent_until
from freshgate.state.store import fcall, with_library
from freshgate.state.views import AddressHolder, AddressView, PersonView
from workers.decisions import Records
from workers.gate import address_of


def transactional_marks(triggers: Iterable[Trigger]) -> dict[str, str]:
    """Name of each transactional trigger → the mark that its mail is about; "" for one about an order, or a field."""
    return {
        trigger.name: trigger.about if trigger.subject == "person" else ""
        for trigger in triggers
        if trigger.kind == "transactional"
    }


class Lookup:
    """Reads from one Redis.

    order_grace, email_identity, session_window  as the settings of these names
    transactional  the triggers whose mail may hold nothing that a page said: see `transactional_marks`
    page_addresses  whether marketing mail goes to an address that only a page gave
    """

    def __init__(
        self,
        client: redis.Redis,
        pii_key: bytes,
        order_grace: int,
        *,
        email_identity: bool = True,
        transactional: Mapping[str, str] | None = None,
        page_addresses: bool = False,
        session_window: int = 1_800_000,
    ) -> None:
        self._session_window = session_window
        self._client = client
        self._transactional = dict(transactional or {})
        self._page_addresses = page_addresses
        self._pii_key = pii_key
        self._order_grace = order_grace
        self._email_identity = email_identity

    def read(
        self, shop: str, timers: Sequence[str], now: int | str | None = None, held: bool = False
    ) -> tuple[int, list[Records], set[str]]:
        """Redis' time (ms), the records that a decision on each timer's send needs, and the triggers on hold.

        now   ms; Redis' own clock where it is None
        held  whether to ask for the triggers on hold; else the set is empty
        """

        def call(first: int) -> list[Any]:
            pipe = self._client.pipeline(transaction=False)
            fcall(pipe, "read", keys.shop(shop), "" if now is None else now, *timers[first:])
            if held:
                pipe.smembers(keys.HOLD)
            return pipe.execute()

        records: list[Records] = []
        while True:
            reply, *holds = with_library(self._client, partial(call, len(records)))
            refused_at, refused_since = map(int, reply[1].split() or (0, 0))
            records += [self._build(shop, send, refused_at, refused_since) for send in reply[2:]]
            # Large persons take calls of their own.
            if len(records) == len(timers):
                break
        names = {name.decode() for name in holds[0]} if holds else set()
        until = sent_until(names)
        for record in records if until else ():
            record.sent_until = until
        self._add_missing_addresses(shop, records)
        self._add_products(shop, records)
        return int(reply[0]), records, names

    def _build(self, shop: str, send: Any, refused_at: int, refused_since: int) -> Records:
        timer, due, root, persons, order, addresses, others = send
        ref = keys.TimerRef.parse(timer.decode())
        order_fields = to_fields(order)
        members = [(record_id.decode(), to_fields(flat)) for record_id, flat in persons]
        records = Records(
            timer=ref,
            due=int(float(due)) if due else None,
            person=PersonView(
                root.decode(),
                members,
                self._order_grace,
                trusted_only=ref.trigger in self._transactional,
                page_addresses=self._page_addresses,
                about=self._transactional.get(ref.trigger, ""),
                session_window=self._session_window,
            ),
            order=OrderView(ref.id, order_fields) if ref.kind == "o" else None,
            shop=shop,
            refused_at=refused_at,
            refused_since=refused_since,
        )
        address = address_of(records)
        if address:
            read = {record_id.decode(): flat for record_id, flat in addresses}
            address_id, mailbox_id = self._address_ids(address)
            if address_id in read:
                self._set_address(records, AddressView(address_id, to_fields(read[address_id])))
                self._add_others(records, [other for other in others if other[0].decode() == address_id])
            if mailbox_id in read:
                records.mailbox = AddressView(mailbox_id, to_fields(read[mailbox_id]))
        return records

    def _address_ids(self, address: str) -> tuple[str, str]:
        """Those of the address, and of its mailbox where it is an alias of another; else ""."""
        return keys.address_id(self._pii_key, address), keys.alias_mailbox_id(self._pii_key, address)

    def _set_address(self, records: Records, view: AddressView) -> None:
        records.address = view
        if self._email_identity:
            records.person.see_address(view.ordered)

    def _add_others(self, records: Records, others: Iterable[Sequence[Any]]) -> None:
        """The other persons who had the address: what they ordered or refused counts, also where that named none."""
        for _, root, flat in others:
            other = AddressHolder(root.decode(), to_fields(flat))
            records.others.append(other)
            order, newest = other.ordered, records.person.ordered_elsewhere
            if self._email_identity and order and (newest is None or newest.stamp < order.stamp):
                records.person.see_address(order)

    def _add_missing_addresses(self, shop: str, all_records: Iterable[Records]) -> None:
        """An address of which no register has the id, such as a page's where that is believed since: one more trip."""
        missing: list[tuple[Callable[[AddressView], None], str]] = []
        for records in all_records:
            address = address_of(records)
            if not address:
                continue
            address_id, mailbox_id = self._address_ids(address)
            if records.address is None:
                missing.append((partial(self._set_address, records), address_id))
            if mailbox_id and records.mailbox is None:
                missing.append((partial(setattr, records, "mailbox"), mailbox_id))
        if not missing:
            return
        pipe = self._client.pipeline(transaction=False)
        for _, address_id in missing:
            pipe.hgetall(keys.address(shop, address_id))
        for (add, address_id), raw in zip(missing, pipe.execute(), strict=True):
            fields = {name.decode(): value.decode("utf-8", "replace") for name, value in raw.items()}
            add(AddressView(address_id, fields))

    def _add_products(self, shop: str, all_records: Iterable[Records]) -> None:
        """What servers told of the products in a page's cart, for mails that show it: one more trip, for those."""
        wanted = [
            (records, line)
            for records in all_records
            if records.timer.trigger not in self._transactional
            for line in sorted(records.person.page_products())
        ]
        if not wanted:
            return
        pipe = self._client.pipeline(transaction=False)
        for _, line in wanted:
            pipe.hgetall(keys.product(shop, keys.product_id(shop, line)))
        products: dict[str, Product] = {}
        for (_, line), raw in zip(wanted, pipe.execute(), strict=True):
            if raw:
                products[line] = parse_product(raw)
        for records, _ in wanted:
            records.person.see_products(products)
