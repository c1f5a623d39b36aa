"""What a decision may read: one person, one order, one address, as they stood at one revision.

Built from the hashes that the function library writes; triggers in the catalog read nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from decimal import Decimal, InvalidOperation
from typing import Any, Self

import msgspec

from freshgate.events import Product
from freshgate.state.stamps import LENGTH, millis

_product = msgspec.json.Decoder(Product)


class Mark(msgspec.Struct, frozen=True):
    """The newest time that something happened: its stamp, milliseconds, and what the event said about it."""

    stamp: str
    at: int
    value: str


class Line(msgspec.Struct, frozen=True):
    """A product in the cart, with the stamp of the event that put it there."""

    product: Product
    stamp: str


class LastOrder(msgspec.Struct, frozen=True):
    """The person's newest order: the ids of its products, empty where it listed none."""

    at: int
    products: frozenset[str]


class Claim(msgspec.Struct, frozen=True):
    """One send that was begun. `state` is claimed, retry, replay, or an outcome; times in milliseconds.

    limit  how old the mail may be at most, where a replay raised that; 0 is the trigger's max_age
    """

    send_id: str
    state: str
    token: str
    until: int
    at: int
    attempts: int
    version: str
    limit: int = 0

    def text(self) -> str:
        """The wire form in Redis; `claim.lua` reads its first two words."""
        tries = f"{self.attempts}+{self.limit}" if self.limit else f"{self.attempts}"
        return f"{self.state} {self.token} {self.until} {self.at} {tries} {self.version or '-'}"


# A send in one of these states has left, or may have: it counts for caps.
WENT_OUT = frozenset({"claimed", "sent", "fallback_sent", "unknown"})
# A send in one of these states is over; the same version is a duplicate.
OVER = frozenset({"sent", "fallback_sent", "rejected", "unknown", "dead"})


class _View:
    """Registers of one hash. Values are `stamp + text`."""

    def __init__(self, entity_id: str, raw: Mapping[bytes, bytes]) -> None:
        self.id = entity_id
        self._raw = {field.decode(): value.decode("utf-8", "replace") for field, value in raw.items()}
        self.revision = self._raw.get("rev", "0")
        self.moved_to = self._raw.get("to")
        self.deleted_at = int(self._raw.get("del", "0"))

    def register(self, field: str) -> Mark | None:
        value = self._raw.get(field)
        if value is None:
            return None
        return Mark(value[:LENGTH], millis(value), value[LENGTH:])

    def trace(self, member: str) -> str:
        """The trace of the event that set this timer, if that was sampled: a `traceparent`."""
        return self._raw.get(f"p:{member}", "")

    def as_of(self, moment: int) -> Self:
        """What is known now of the time up to `moment` (ms). A register holds its newest value only, so something
        older that a newer value replaced is missing; lines of the cart stay, since a repeated add is no removal."""
        before = copy(self)
        before._raw = {
            field: value
            for field, value in self._raw.items()
            if not (field[:2] in ("m:", "t:", "q:") or field[0] == "-" or field == "cc") or millis(value) <= moment
        }
        return before

    def claims(self, trigger: str) -> list[Claim]:
        """Every send of this trigger that was begun for this subject and is still remembered."""
        head = f"c:{trigger}:"
        return [parse_claim(field[len(head) :], text) for field, text in self._raw.items() if field.startswith(head)]


class PersonView(_View):
    """A person as one trip to Redis saw them. `order_grace` is a setting, in milliseconds."""

    def __init__(self, entity_id: str, raw: Mapping[bytes, bytes], order_grace: int = 300_000) -> None:
        super().__init__(entity_id, raw)
        self.order_grace = order_grace
        # The newest order of the address that the mail would go to, whoever completed it: another id of the same
        # shopper, for all that is known. It only ever withholds.
        self.ordered_elsewhere: Mark | None = None

    def as_of(self, moment: int) -> Self:
        before = super().as_of(moment)
        if before.ordered_elsewhere and before.ordered_elsewhere.at > moment:
            before.ordered_elsewhere = None
        return before

    @property
    def unproven(self) -> bool:
        """A device that says it belongs to somebody known, and nobody confirms it."""
        return "unproven" in self._raw

    @property
    def received_at(self) -> int:
        """When the newest arrival of any event of this person was, in milliseconds."""
        return int(self._raw.get("rx", "0"))

    def mark(self, name: str) -> Mark | None:
        own = self.register(f"m:{name}")
        elsewhere = self.ordered_elsewhere
        if name == "order" and elsewhere and (own is None or own.stamp < elsewhere.stamp):
            return elsewhere
        return own

    def trait(self, name: str) -> str | None:
        found = self.register(f"t:{name}")
        return found.value if found else None

    @property
    def email(self) -> str | None:
        """The address that the person has now: what a server told, else a browser, else a user id that is one."""
        told = self.trait("email") or self.trait("said_email")
        if told:
            return told
        user_id = self.trait("id")
        return user_id if user_id and "@" in user_id and " " not in user_id else None

    def order_email(self, order_id: str) -> str | None:
        found = self.register(f"q:{order_id}")
        return found.value if found else None

    def suppression(self, kind: str) -> Mark | None:
        """An unsubscribe, bounce or complaint that named this person and no address."""
        return self.register(f"m:{kind}")

    def floor(self, member: str) -> int:
        """When an address arrived for a send that had waited for one, in milliseconds; 0 where none did."""
        found = self._raw.get(f"b:{member}")
        return int(found[:13]) if found else 0

    def first_due(self, member: str) -> int | None:
        found = self._raw.get(f"f:{member}")
        return int(found) if found else None

    def parked(self, shard: str, member: str) -> bool:
        return f"k:{shard}:{member}" in self._raw

    @property
    def last_order(self) -> LastOrder | None:
        mark = self.mark("order")
        if mark is None:
            return None
        return LastOrder(mark.at, frozenset(msgspec.json.decode(mark.value or "[]", type=list[str])))

    @property
    def cart(self) -> tuple[Line, ...]:
        """Lines whose last add is newer than their last remove and than the last time that the cart was emptied.

        A remove that names no variant takes every variant of the product along.
        """
        raw = self._raw
        cleared = raw.get("cc", "")[:LENGTH]
        if self.ordered_elsewhere:
            cleared = max(cleared, self.ordered_elsewhere.stamp)
        lines = []
        for field, value in raw.items():
            if not field.startswith("+"):
                continue
            added = value[:LENGTH]
            key = field[1:]
            product_id = key.partition("/")[0]
            removed = max(raw.get(f"-{key}", "")[:LENGTH], raw.get(f"-{product_id}", "")[:LENGTH])
            if added > cleared and added > removed:
                lines.append(Line(_product.decode(value[LENGTH:].encode()), added))
        return tuple(sorted(lines, key=lambda line: line.stamp))


class Order(msgspec.Struct, frozen=True):
    """What an Order Completed said, as it is kept. Money is decimal text."""

    order_id: str
    person: str
    total: str = ""
    currency: str = ""
    products: tuple[Product, ...] = ()


class OrderView(_View):
    """An order as one trip to Redis saw it."""

    @property
    def completed(self) -> Mark | None:
        return self.register("m:order")

    @property
    def order(self) -> Order | None:
        mark = self.completed
        return msgspec.json.decode(mark.value, type=Order) if mark else None

    @property
    def cancelled(self) -> Mark | None:
        return self.register("m:cancelled")

    @property
    def refunded(self) -> Mark | None:
        """The newest refund of everything: one that named neither products nor an amount, or the order's total."""
        total = _decimal(self.order.total if self.order else "")
        full = ["m:refunded"]
        for field in self._raw:
            amount = _decimal(field.removeprefix("m:refunded:")) if field.startswith("m:refunded:") else None
            if amount is not None and total is not None and amount >= total:
                full.append(field)
        found = [mark for mark in map(self.register, full) if mark]
        return max(found, key=lambda mark: mark.stamp, default=None)


class AddressView(_View):
    """What is known about an address, by its hash: suppressions, and who had it last."""

    def suppression(self, kind: str) -> Mark | None:
        return self.register(f"m:{kind}")

    @property
    def ordered(self) -> Mark | None:
        """The newest order that was told with this address."""
        return self.register("m:order")

    def mails(self, since: int, besides: str, trigger: str = "") -> list[int]:
        """When mails later than `since` left for this address, in milliseconds, newest first; one send left out.

        trigger  only this trigger's mails; all where it is empty
        """
        mails = [mail.split(" ", 2) for mail in self._raw.get("mails", "").split(";") if mail]
        return [
            int(at) for at, send, by in mails if int(at) > since and send != besides and (not trigger or by == trigger)
        ]

    @property
    def person(self) -> str | None:
        found = self.register("m:who")
        return found.value if found else None


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def parse_claim(send_id: str, text: str) -> Claim:
    """A claim's wire form, as `Claim.text` writes it."""
    state, token, until, at, tries, version = text.split(" ", 5)
    attempts, _, limit = tries.partition("+")
    version = "" if version == "-" else version
    return Claim(send_id, state, token, int(until), int(at), int(attempts), version, int(limit or 0))


def template_product(line: Product) -> dict[str, Any]:
    """A product as templates see it; what was not told is absent, so that a template can test for it."""
    told = {
        "product_id": line.product_id,
        "variant": line.variant,
        "name": line.name,
        "price": line.price,
        "quantity": line.quantity,
        "url": line.url,
        "image_url": line.image_url,
    }
    return {key: value for key, value in told.items() if value != ""}
