"""The canonical event: what every source is read into, whatever it was called there.

Sources produce it, `record.py` turns it into writes, triggers are declared on its names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec


class Product(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a cart or an order. `price` is decimal text in the event's currency, never a float."""

    product_id: str
    variant: str = ""
    name: str = ""
    price: str = ""
    quantity: int = 1
    url: str = ""
    image_url: str = ""

    @property
    def line(self) -> str:
        """The key of the line in a cart: the product, and the variant where one was told."""
        return f"{self.product_id}/{self.variant}" if self.variant else self.product_id


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event of one person. All times are integer milliseconds UTC.

    `fields` holds the declared fields that were present and readable, by canonical name: ids and texts as str,
    money as Decimal, numbers as int or float, times as int, products as tuple[Product, ...].
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


class Ignored(msgspec.Struct, frozen=True, eq=False):
    """Authentic and well-formed, but no event type of ours: `what` is for the log and the list of unmapped events.

    element  gives the element as it was sent, for its shape; asked for once a minute and name, so it need not be cheap
    """

    what: str
    element: Callable[[], Any] | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ignored) and other.what == self.what

    def __hash__(self) -> int:
        return hash(self.what)


class Refused(NamedTuple):
    """Ours but unusable; `reason` comes from metrics.REFUSED_ELEMENTS and is safe as a metric label.

    raw, fault  of an element on which our own code failed (reason "internal"): its bytes, for the quarantine, and
                where the code failed, for the log
    """

    reason: str
    raw: bytes = b""
    fault: str = ""


Verdict = Event | Ignored | Refused
