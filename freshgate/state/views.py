"""What a decision may read: a person and an address, as they stood at one revision. `orders.py` has the order.

Built from the records that the function library writes, folded by `fold.py`; triggers in the catalog read nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import Any, Self

import msgspec
from msgspec.structs import replace

from freshgate.declare import FIRST_EVENT_MARK
from freshgate.events import Product
from freshgate.ids import address_in
from freshgate.state.cart import UNREADABLE, Line, Purchase, add_up
from freshgate.state.fold import fold, is_device
from freshgate.state.orders import OrderView
from freshgate.state.products import with_server_data
from freshgate.state.records import OVER, WENT_OUT, Claim, Mark, Record, parse_claims, without
from freshgate.state.stamps import LENGTH, millis
from freshgate.state.stored import Order, to_json
from freshgate.state.subjects import FROM_PAGE, SubjectView

__all__ = [
    "OVER",
    "WENT_OUT",
    "AddressView",
    "Claim",
    "Line",
    "Mark",
    "Order",
    "OrderView",
    "PersonView",
    "Purchase",
    "SubjectView",
]

# Register: the first event, by a stamp of `stamps.first_stamp`, and its time (ms).
FIRST_EVENT = f"m:{FIRST_EVENT_MARK}"
_ids = msgspec.json.Decoder(list[str])
_product = msgspec.json.Decoder(Product)


class PersonView(Record):
    """A person as one trip to Redis saw them: the record of each of their ids, folded. Times in milliseconds.

    records      (id, fields) of the root, then of its members; see `members.lua`
    order_grace     a setting: how much older than an event an order may be that it still belongs to
    trusted_only    for transactional mail: what a page says of the person, or a form, is left out
    page_addresses  whether marketing mail goes to an address that only a page gave
    about           of transactional mail: the mark that it is about, whose teller's address it goes to
    session_window  a setting: how far apart (ms) events of one id are at most that belong to one session
    """

    def __init__(
        self,
        record_id: str,
        records: Sequence[tuple[str, Mapping[str, str]]] = (),
        order_grace: int = 300_000,
        *,
        trusted_only: bool = False,
        page_addresses: bool = False,
        about: str = "",
        session_window: int = 1_800_000,
    ) -> None:
        self.session_window = session_window
        self._about = about
        self.records = records
        self.deleted_at = max((int(fields.get("asked", "0")) for _, fields in records), default=0)
        super().__init__(record_id, fold(records, self.deleted_at, newest_name=trusted_only), "p")
        self.order_grace = order_grace
        self.trusted_only = trusted_only
        self.page_addresses = page_addresses
        # The newest order of the address that the mail would go to, whoever completed it: another id of the same
        # shopper, for all that is known. It only ever withholds.
        self.ordered_elsewhere: Mark | None = None
        # What servers told of the products of which a page tells, by `Product.line`.
        self._server_products: Mapping[str, Product] = {}
        self.answers: Mapping[str, Any] = {}

    def with_answers(self, answers: Mapping[str, Any]) -> Self:
        """The same person as `compose` reads it, without what is missing or stale.

        answers  field ("profile.first_name", "cart.prices") → what stands in its place; None leaves it out. Of
                 cart.prices it is {product's line or id: price}, of view.product a Product
        """
        answered = copy(self)
        answered.answers = answers
        answered.__dict__.pop("cart", None)
        return answered

    def as_of(self, moment: int) -> Self:
        before = copy(self)
        before._raw = fold(self.records, self.deleted_at, moment, newest_name=self.trusted_only)
        # What was computed of the present does not hold for the past.
        for name in ("purchases", "cart"):
            before.__dict__.pop(name, None)
        if before.ordered_elsewhere and before.ordered_elsewhere.at > moment:
            before.ordered_elsewhere = None
        return before

    def see_address(self, ordered: Mark | None) -> None:
        """Takes the newest order of the person's address into account."""
        self.ordered_elsewhere = ordered
        for name in ("purchases", "cart"):
            self.__dict__.pop(name, None)

    def page_products(self) -> set[str]:
        """`Product.line` of each product that a mail may show and a page told of."""
        view = self.register("m:view")
        viewed = [_product.decode(view.value)] if view and view.value else []
        products = (*(line.product for line in self.cart), *viewed)
        return {product.line for product in products if product.from_page}

    def see_products(self, products: Mapping[str, Product]) -> None:
        """Takes what servers told of products in place of a page's word."""
        self._server_products = products
        self.__dict__.pop("cart", None)

    def claims(self, scope: str) -> list[Claim]:
        claims = []
        for record_id, fields in self.records:
            text = fields.get(f"c:{scope}")
            if text:
                claims += parse_claims(text, f"p:{record_id}")
        return claims

    def subject_keys(self, trigger: str) -> list[str]:
        """The subjects for which this trigger, whose subject are fields, has begun sends."""
        head = f"c:{trigger}#"
        names = {field for _, fields in self.records for field in fields if field.startswith(head)}
        return sorted(name.removeprefix(head) for name in names)

    def subject(self, key: str) -> SubjectView:
        """What is known of one subject: see `Trigger.subject`."""
        heads = [field for field in self.fields("s:") if field.endswith(f"#{key}")]
        marks = {field[2 : -len(key) - 1]: self.register(field) for field in heads}
        return SubjectView(key, {name: mark for name, mark in marks.items() if mark}, self.answers)

    def register(self, field: str) -> Mark | None:
        mark = super().register(field)
        if mark and self.trusted_only and mark.value.startswith(FROM_PAGE):
            return Mark(mark.stamp, mark.at, "")
        return mark

    def facts(self) -> dict[str, str]:
        """The registers, the purchases and the cart as text, for comparisons: they never depend on arrival."""
        facts = {field: value for field, value in self._raw.items() if field[:2] in ("m:", "s:", "t:")}
        facts |= {f"O:{purchase.at}": _to_json(purchase.products) for purchase in self.purchases}
        facts |= {f"+{line.product.line}": f"{line.stamp} {line.product.quantity}" for line in self.cart}
        return facts

    @property
    def unproven(self) -> bool:
        """A device that says it belongs to somebody known, and nobody confirms it."""
        return "unproven" in self._raw

    @property
    def first_seen(self) -> int | None:
        """When the first event of this person occurred (ms), where a trigger needs it. None after an erasure: what was
        before it is forgotten, whatever arrived when."""
        if self.deleted_at:
            return None
        firsts = [
            fields[FIRST_EVENT][LENGTH:] for _, fields in self.records if FIRST_EVENT in fields and "del" not in fields
        ]
        return min(map(int, firsts), default=None)

    def in_session(self, mark: Mark, trait: str) -> Mark | None:
        """What the session in which a mark was told said last of a trait: a server's word, else a page's.

        A session is what the person's ids told at most `session_window` before or after the mark. Transactional mail
        sees no page's word.
        """
        for head in ("t:",) if self.trusted_only else ("t:", "t:said_"):
            words = []
            for _, fields in self.records:
                value = fields.get(f"{head}{trait}", "")
                cut, erased = fields.get("cut", ""), max(self.deleted_at, int(fields.get("del", "0")))
                belongs = value and millis(value) > erased and not (cut and value[:LENGTH] >= cut)
                if belongs and abs(millis(value) - mark.at) <= self.session_window:
                    words.append(Mark(value[:LENGTH], millis(value), value[LENGTH:]))
            if words:
                return max(words, key=lambda word: (word.stamp, word.value))
        return None

    @property
    def received_at(self) -> int:
        """When the newest arrival of any event of this person was, in milliseconds."""
        return int(self._raw.get("rx", "0"))

    def mark(self, name: str) -> Mark | None:
        """The newest time that something happened; of "order" the newest purchase, also of the person's address."""
        if name == "view" and self._server_products:
            return self._answered(name, self._view())
        if name != "order":
            return self._answered(name, self.register(f"m:{name}"))
        newest = self.purchases[0] if self.purchases else None
        return Mark(newest.stamp, newest.at, _to_json(newest.products)) if newest else None

    def trait(self, name: str) -> str | None:
        """What a server told; else, for marketing mail, what a page said."""
        if f"profile.{name}" in self.answers:
            answer = self.answers[f"profile.{name}"]
            return None if answer is None else str(answer)
        if name == "email":
            return self._address()
        return self._newest(name) or (None if self.trusted_only else self._newest(f"said_{name}"))

    @property
    def email(self) -> str | None:
        """The address that mail goes to: what a server told, else a form of the shop, else a user id that is one; else,
        where the settings allow it, what a page said."""
        return self._guests_address() or self._address(with_id=True)

    @property
    def has_unproven_address(self) -> bool:
        """Whether a page alone gave an address, and mail does not go there."""
        return self.email is None and self._newest("said_email") is not None

    def is_guests(self, name: str) -> bool:
        """Whether a device alone told the newest of a mark, long after a server had said whose device it is, and no
        address with it: somebody else may have done that. What is told within a session of its user is the user's."""
        mark = self.register(f"m:{name}")
        for record_id, fields in self.records if mark and not self._guests_address() else ():
            if mark and is_device(record_id) and fields.get(f"m:{name}", "")[:LENGTH] == mark.stamp:
                links = [millis(stamp) for field, stamp in fields.items() if field.startswith("L:")]
                return any(linked_at < mark.at - self.session_window for linked_at in links)
        return False

    def _guests_address(self) -> str | None:
        """What the device that told the mark told with it, or later. A guest who signs up on a user's device is mailed,
        and not the user."""
        mark = self.register(f"m:{self._about}") if self._about else None
        for record_id, fields in self.records if mark else ():
            email = fields.get("t:email", "")
            if mark and is_device(record_id) and fields.get(f"m:{self._about}", "")[:LENGTH] == mark.stamp <= email:
                cut, erased = fields.get("cut", ""), max(self.deleted_at, int(fields.get("del", "0")))
                if millis(email) > erased and not (cut and email >= cut):
                    return email[LENGTH:]
        return None

    def _address(self, *, with_id: bool = False) -> str | None:
        user_id = self._newest("id") if with_id else None
        return (
            self._newest("email")
            or (None if self.trusted_only else self._newest("typed_email"))
            or (address_in(user_id) if user_id else None)
            or (self._newest("said_email") if self.page_addresses and not self.trusted_only else None)
        )

    def _newest(self, name: str) -> str | None:
        mark = self.register(f"t:{name}")
        return mark.value if mark else None

    def _answered(self, name: str, mark: Mark | None) -> Mark | None:
        """The mark as far as it is not answered by something else."""
        if mark is None or name in self.answers:
            return None
        if "view.product" in self.answers and name == "view":
            product = self.answers["view.product"]
            return Mark(mark.stamp, mark.at, to_json(product) if isinstance(product, Product) else "")
        head = f"{name}."
        fields = {field[len(head) :]: value for field, value in self.answers.items() if field.startswith(head)}
        return without(mark, fields) if fields else mark

    def suppression(self, kind: str) -> Mark | None:
        """An unsubscribe, bounce or complaint that named this person and no address; or "subscribed", an opt-in."""
        return self.register(f"m:{kind}")

    def floor(self, scope: str) -> int:
        """When an address arrived for a send that had waited for one, in milliseconds; 0 where none did."""
        return int(self._raw.get(f"b:{scope}", "0"))

    def first_due(self, scope: str) -> int | None:
        due = int(self._raw.get(f"f:{scope}", "0"))
        return due or None

    def parked(self, timer: str) -> bool:
        return f"k:{timer}" in self._raw

    @cached_property
    def purchases(self) -> tuple[Purchase, ...]:
        """The person's newest orders, newest first, and the newest one of the person's address."""
        purchases = []
        for line in self._raw.get("O", "").split("\n"):
            if line:
                head, _, products = line.partition("\t")
                purchases.append(_purchase(head[:LENGTH], products))
        for mark in (self.register("m:order"), self.ordered_elsewhere):
            if mark:
                purchases.append(_purchase(mark.stamp, mark.value))
        return tuple(sorted(set(purchases), key=lambda purchase: purchase.stamp, reverse=True))

    @property
    def last_order(self) -> Purchase | None:
        """The person's newest order."""
        return self.purchases[0] if self.purchases else None

    def has_bought(self, product: Product, since: int) -> bool:
        """Whether an order since then (ms), or within the grace before, has this product or lists nothing."""
        return any(purchase.at >= since - self.order_grace and purchase.has(product) for purchase in self.purchases)

    @property
    def _cleared(self) -> str:
        """Stamp of the newest moment at which the cart was emptied."""
        return max([self._raw.get("cc", "")[:LENGTH], *(purchase.stamp for purchase in self.purchases[:1])])

    @property
    def is_cart_unknown(self) -> bool:
        """Whether something was removed that could not be read, since the cart was known last."""
        return self._raw.get(UNREADABLE, "")[:LENGTH] > self._cleared

    @cached_property
    def cart(self) -> tuple[Line, ...]:
        """The lines that are in the cart, oldest first, with their quantities.

        What was just bought and is only shown once more is not in it: a thank-you page does that.
        """
        lines = add_up(self._raw, self._cleared, self.purchases, self.order_grace)
        if self._server_products:
            lines = tuple(Line(with_server_data(line.product, self._server_products), line.stamp) for line in lines)
        if "cart.prices" in self.answers:
            prices = self.answers["cart.prices"] or {}
            lines = tuple(replace(line, product=_priced(line.product, prices)) for line in lines)
        return () if "cart" in self.answers else lines

    def _view(self) -> Mark | None:
        view = self.register("m:view")
        if view is None or not view.value:
            return view
        product = with_server_data(_product.decode(view.value), self._server_products)
        return Mark(view.stamp, view.at, to_json(product))


class AddressView(Record):
    """What is known about an address, by its hash: suppressions, and who had it last."""

    def __init__(self, record_id: str, raw: Mapping[str, str]) -> None:
        super().__init__(record_id, raw, "a")

    def suppression(self, kind: str) -> Mark | None:
        return self.register(f"m:{kind}")

    def lifted(self, kind: str) -> Mark | None:
        """When an operator lifted the suppressions of that kind, last."""
        return self.register(f"l:{kind}")

    @property
    def deleted_at(self) -> int:
        """Up to when whoever has it was erased, in milliseconds; 0 where nobody was."""
        return int(self._raw.get("del", "0"))

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


class AddressHolder(Record):
    """Another person who had the address: what they ordered and refused, perhaps in events that did not name it."""

    def __init__(self, record_id: str, raw: Mapping[str, str]) -> None:
        super().__init__(record_id, raw, "p")

    def suppression(self, kind: str) -> Mark | None:
        return self.register(f"m:{kind}")

    @property
    def ordered(self) -> Mark | None:
        """The newest order."""
        return self.register("m:order")


def _priced(product: Product, prices: Mapping[str, str]) -> Product:
    return replace(product, price=prices.get(product.line) or prices.get(product.product_id) or "")


def _purchase(stamp: str, products: str) -> Purchase:
    return Purchase(stamp, millis(stamp), frozenset(_ids.decode((products or "[]").encode())))


def _to_json(products: frozenset[str]) -> str:
    return msgspec.json.encode(sorted(products)).decode()
