"""Products and orders as Redis holds them: JSON with names of one letter, since a cart is most of a person's record.

`plans.py` and `planner.py` write them, `cart.py` and `orders.py` read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import astuple, replace

from freshgate.events import Product


class Order(msgspec.Struct, frozen=True):
    """What an Order Completed said, as it is kept. Money is decimal text."""

    order_id: str
    total: str = ""
    currency: str = ""
    products: tuple[Product, ...] = ()


class _Product(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={
        "product_id": "p",
        "variant": "v",
        "name": "n",
        "price": "m",
        "quantity": "q",
        "url": "u",
        "image_url": "i",
        "sku": "s",
        "id": "d",
        "has_quantity": "h",
        "from_page": "f",
    },
):
    """The fields of `Product`, in its order."""

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


class _Order(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={"order_id": "o", "total": "t", "currency": "c", "products": "p"},
):
    order_id: str
    total: str = ""
    currency: str = ""
    products: tuple[_Product, ...] = ()


# On the trail → in words
VERDICTS = {"ok": "accepted", "dup": "duplicate", "amb": "ambiguous", "unmapped": "unmapped"}

_encode = msgspec.json.Encoder(decimal_format="string").encode
_product = msgspec.json.Decoder(_Product)
_order = msgspec.json.Decoder(_Order)


def to_json(value: Any) -> str:
    """As text: Redis' unpacker knows no binary type."""
    return _encode(value).decode()


def trail_entry(
    message_id: str | None, name: str, source: str, at: int, received_at: int, notes: Mapping[str, Any] | None = None
) -> str:
    """An event's entry on the trail: the message first, by which repetitions are known, then what it is and when (ms)
    it occurred, how long it took to arrive, and what else there is to say."""
    known = {name: value for name, value in (notes or {}).items() if value}
    entry = [message_id, name, source, at, received_at - at]
    return to_json([*entry, known] if known else entry)


class TrailEvent(msgspec.Struct, frozen=True):
    """An event on a person's trail. Times in ms.

    verdict  "accepted", "duplicate", "ambiguous" or "unmapped"
    timers   what it did to timers, ";"-separated: `<scope> set <due in ms>`, or `released`, `displaced`
    notes    what else there is to say: unreadable fields and the like
    """

    message_id: str | None
    name: str
    source: str
    at: int
    received_at: int
    verdict: str
    timers: str
    notes: Mapping[str, Any] = {}


def read_trail_entry(raw: bytes) -> TrailEvent:
    """One entry of the lists `:ev` and `:un`."""
    verdict, timers, event = raw.decode("utf-8", "replace").split("\t", 2)
    message_id, name, source, at, delay, *notes = msgspec.json.decode(event)
    changes = [change.rpartition(" ") for change in timers.split(";") if change]
    dues = ";".join(f"{change} {at + int(due)}" for change, _, due in changes)
    return TrailEvent(message_id, name, source, at, at + delay, VERDICTS[verdict], dues, notes[0] if notes else {})


def encode_product(product: Product) -> str:
    return to_json(_Product(*astuple(product)))


def decode_product(text: str) -> Product:
    return Product(*astuple(_product.decode(text)))


def encode_line(product: Product) -> str:
    """A product in the cart; its id is left out where it is the line's name."""
    stored = _Product(*astuple(product))
    return to_json(stored if product.variant else replace(stored, product_id=""))


def decode_line(name: str, text: str) -> Product:
    """The reverse of `encode_line`; `name` is the line's."""
    product = decode_product(text)
    return product if product.product_id else replace(product, product_id=name)


def encode_order(order: Order) -> str:
    products = tuple([_Product(*astuple(product)) for product in order.products])
    return to_json(_Order(order.order_id, order.total, order.currency, products))


def decode_order(text: str) -> Order:
    order = _order.decode(text)
    products = tuple([Product(*astuple(product)) for product in order.products])
    return Order(order.order_id, order.total, order.currency, products)
