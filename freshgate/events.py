"""The canonical event, which every CDP's payload is read into, and the other two verdicts: ignored and refused.

`adapter/sources/` produces them, `adapter/ingest/receive.py` sorts them, triggers start on the events' names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec


class Product(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One line of a cart or an order. Empty texts are values that the source did not send.

    product_id    the product's id, else its SKU, else what the source calls `id`. Empty in an order's line without any
    variant       what makes two lines of one product: a size, a colour
    price         of one piece: decimal text such as "39.95", in the event's currency; never a float
    quantity      pieces; 1 where the source sent none
    url           of the product's page; http or https only, as `image_url`
    sku, id       where they differ from `product_id`: another event may name the product by one of them alone
    has_quantity  False where the source sent no quantity, or none that can be read
    from_page     True where a source with a key that anybody can read sent it
    """

    product_id: str = ""
    variant: str = ""
    name: str = ""
    price: str = ""
    quantity: int = 1
    url: str = ""
    image_url: str = ""
    sku: str = ""
    id: str = ""
    has_quantity: bool = True
    from_page: bool = False

    @property
    def line(self) -> str:
        """The line's key in a cart: the product's id, and the variant where there is one."""
        return f"{self.product_id}/{self.variant}" if self.variant else self.product_id


# The field with an address that somebody typed into a form of the shop, such as the checkout's. A guest has no other,
# so it is the guest's own (`Event.email`); a customer may have typed another's.
CONTACT_EMAIL = "contact_email"
# The field that holds the address of an order, which may be another than the person's.
ORDER_EMAIL = "order_email"


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event of one person. All times are integer milliseconds UTC.

    source        name of the source that sent it, as the settings have it
    id_space      the shop: sources that share it mean the same person by the same user id
    name          the event type's canonical name
    message_id    the CDP's id of the event; a second event with the same id is a duplicate
    occurred_at   when it happened, at most 5 minutes after `received_at` (a clock that is ahead)
    received_at   when the request reached us
    user_id       the shop's id of the person, if it is known
    anonymous_id  the id of the device or browser
    previous_id   Alias only: the id that the person had before
    email         the person's own address
    fields        the declared fields that were present and readable, by canonical name: ids and texts as str, money as
                  Decimal, numbers as int or float, times as int, flags as bool, a product as Product, products as
                  tuple[Product, ...]
    unreadable    names of what was present and not readable: a field, "email", "occurred_at", "products.2.price",
                  "products.3" for a line that was dropped
    clamped       whether the stated time lay further in the future, and was replaced by a time of receipt
    doubtful      names of what may mean something else: "email" mixes scripts; "occurred_at" had no offset from UTC, or
                  was a date alone
    """

    source: str
    id_space: str
    name: str
    message_id: str
    occurred_at: int
    received_at: int
    user_id: str | None = None
    anonymous_id: str | None = None
    previous_id: str | None = None
    email: str | None = None
    fields: dict[str, Any] = {}
    unreadable: tuple[str, ...] = ()
    clamped: bool = False
    doubtful: tuple[str, ...] = ()

    @property
    def undated(self) -> bool:
        """Whether a time was stated that cannot be read. `occurred_at` is then when it was sent or received: what the
        event changes counts from there, but it may be years old, so it starts no mail."""
        return "occurred_at" in self.unreadable


class Ignored(msgspec.Struct, frozen=True, eq=False):
    """The verdict on an authentic, well-formed element that no event type of the catalog maps.

    what     its kind and name, "track / Page Loaded": for the log and the list of unmapped events
    element  returns the element as it was sent, for its shape; called once a minute and name, so it need not be cheap
    user_id, anonymous_id, message_id, occurred_at
             as in Event, as far as the element says them: it is noted on the trail of a person who is known. Without a
             time (0), that of its arrival counts
    """

    what: str
    element: Callable[[], Any] | None = None
    user_id: str | None = None
    anonymous_id: str | None = None
    message_id: str = ""
    occurred_at: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ignored) and other.what == self.what

    def __hash__(self) -> int:
        return hash(self.what)


class Refused(NamedTuple):
    """The verdict on an element that a source should have read, and could not. Its neighbours are not affected.

    reason  one of metrics.REFUSED_ELEMENTS, so that it can be a label
    raw     reason "internal" (our own code failed): the element's bytes, for the quarantine
    fault   reason "internal": where our code failed, for the log
    """

    reason: str
    raw: bytes = b""
    fault: str = ""


# What a source says of each element of a request.
Verdict = Event | Ignored | Refused
