"""An order as it is kept, and as one trip to Redis saw it: its first telling, and what later ones added.

`planner.py` writes the registers, `record.lua` keeps the oldest or newest of each.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from decimal import Decimal, InvalidOperation
from typing import Any, Self

import msgspec
from msgspec.structs import replace

from freshgate.state.fold import is_device
from freshgate.state.records import Mark, Record
from freshgate.state.stored import Order, decode_order

_items = msgspec.json.Decoder(list[tuple[list[str], int]])


class OrderView(Record):
    """An order as one trip to Redis saw it.

    answers  field ("order.total") → what stands in its place, or None: see `PersonView.with_answers`
    """

    answers: Mapping[str, Any] = {}

    def with_answers(self, answers: Mapping[str, Any]) -> Self:
        """The same order as `compose` reads it, without what is missing or stale."""
        answered = copy(self)
        answered.answers = {name[6:]: value for name, value in answers.items() if name.startswith("order.")}
        return answered

    def mark(self, name: str) -> Mark | None:
        """The newest time that something happened to the order; of "order" the first telling, which is the purchase."""
        return self.completed if name == "order" else self.register(f"m:{name}")

    @property
    def completed(self) -> Mark | None:
        return self.register("F:order") or self.register("m:order")

    @property
    def order(self) -> Order | None:
        """What the first telling says, and what it left out as the newest one says it."""
        first = self.completed
        if first is None:
            return None
        order = decode_order(first.value)
        newest = self.register("m:order")
        if newest is None:
            return self._answered(order)
        # Empty where it says the same as the first.
        later = decode_order(newest.value) if newest.value else order
        has_total = bool(order.total)
        merged = Order(
            order_id=order.order_id,
            # An amount and its currency belong together.
            total=order.total if has_total else later.total,
            currency=(order.currency or later.currency) if has_total else (later.currency or order.currency),
            products=order.products or later.products,
        )
        return self._answered(merged)

    def _answered(self, order: Order) -> Order:
        changes: dict[str, Any] = {name: self.answers[name] for name in ("total", "currency") if name in self.answers}
        if "products" in self.answers:
            changes["products"] = ()
        return replace(order, **{name: "" if value is None else value for name, value in changes.items()})

    @property
    def buyer(self) -> str | None:
        """The record id that completed it first; `read.lua` leaves devices out that are nobody's."""
        tellers = [(self._raw[field], field.removeprefix("w:")) for field in self.fields("w:")]
        return min(tellers)[1] if tellers else None

    @property
    def email(self) -> str | None:
        """The order's own address; None where it came with none."""
        mark = self.register("F:email")
        return mark.value if mark else None

    def guests_email(self, buyer: Collection[str]) -> str | None:
        """The address in a guest's event about the order, whose device may be known as another's. None where a user
        among the buyer's records told it, too: then it may be left from who used the device before."""
        mark = self.register("F:guest")
        is_users = any(f"w:{record_id}" in self._raw for record_id in buyer if not is_device(record_id))
        return mark.value if mark and not is_users else None

    @property
    def cancelled(self) -> Mark | None:
        return self.register("m:cancelled")

    @property
    def refunded(self) -> Mark | None:
        """The newest refund of everything: one that named neither items nor an amount, or the order's total; or the
        newest of those that together gave back every item."""
        order = self.order
        total = _decimal(order.total if order else "")
        full = ["m:refunded"]
        for field in self.fields("m:refunded:"):
            amount = _decimal(field.removeprefix("m:refunded:"))
            if amount is not None and total is not None and amount >= total:
                full.append(field)
        if order and self._is_all_returned(order):
            full += self.fields("m:returned:")
        marks = [mark for mark in map(self.register, full) if mark]
        return max(marks, key=lambda mark: mark.stamp, default=None)

    def _is_all_returned(self, order: Order) -> bool:
        returned: dict[str, int] = {}
        for field in self.fields("m:returned:"):
            mark = self.register(field)
            for keys, quantity in _items.decode(mark.value.encode()) if mark else ():
                for key in keys:
                    returned[key] = returned.get(key, 0) + quantity
        lines = [({line.product_id, line.sku, line.id} - {""}, line.quantity) for line in order.products]
        return bool(lines) and all(any(returned.get(key, 0) >= quantity for key in keys) for keys, quantity in lines)


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
