"""One converter a FieldType: the value as the CDP sent it → the value of `Event.fields`, or None if unreadable.

`paths.py` compiles them into the spellings of event types, and never calls them with an absent value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from math import isfinite
from typing import Any

from adapter.sources.reading.timestamps import time_ms
from freshgate.declare import FieldType
from freshgate.events import Product
from freshgate.ids import trim

MAX_LINES = 250
MAX_TEXT_LENGTH = 500
MAX_PRODUCT_NAME_LENGTH = 200
MAX_URL_LENGTH = 500
MAX_ID_LENGTH = 256
# Beyond it two whole numbers are the same float.
MAX_EXACT_FLOAT = 2.0**53 - 1
WHOLE_FLOAT = re.compile(r"(-?\d{1,16})\.0{1,6}", re.ASCII)
MAX_MONEY = 10**12
PLAIN_DECIMAL = re.compile(r"-?\d{1,13}(?:\.\d{1,20})?", re.ASCII)


def id_text(value: Any) -> str | None:
    """An id as text, without blanks around it, at most 256 characters. A whole number is exact, also as 4711.0."""
    if type(value) is str:
        text = value.strip() if value.isascii() else trim(value)
        # A column of numbers with a gap in it is exported as floats (pandas, spreadsheets).
        if text[-1:] == "0" and (whole := WHOLE_FLOAT.fullmatch(text)):
            text = whole[1]
    elif type(value) is int:
        text = str(value)
    elif type(value) is float and value.is_integer() and abs(value) <= MAX_EXACT_FLOAT:
        text = str(int(value))
    else:
        return None
    return text if 0 < len(text) <= MAX_ID_LENGTH else None


def text(value: Any) -> str | None:
    """At most the first 500 characters. Whole numbers are texts too: coupon 2024."""
    if type(value) is str:
        return value[:MAX_TEXT_LENGTH]
    return str(value)[:MAX_TEXT_LENGTH] if type(value) is int else None


def money(value: Any) -> Decimal | None:
    """The exact decimal; None beyond 10^12 either way."""
    plain = money_text(value)
    return Decimal(plain) if plain else None


def money_text(value: Any) -> str:
    """Decimal text without exponent, such as "39.95"; empty if it is not an amount."""
    if type(value) is float:
        # `repr` is the shortest text that reads back as the same float: what the shop wrote.
        if not -MAX_MONEY <= value <= MAX_MONEY:
            return ""
        plain = repr(value)
        return plain if "e" not in plain else format(Decimal(plain), "f")
    if type(value) is int:
        return str(value) if abs(value) <= MAX_MONEY else ""
    if type(value) is str:
        plain = value.strip()
        if PLAIN_DECIMAL.fullmatch(plain) and abs(Decimal(plain)) <= MAX_MONEY:
            return plain
    return ""


def number(value: Any) -> int | float | None:
    """A finite number, also as text."""
    if type(value) is int:
        return value
    if type(value) is float:
        return value if isfinite(value) else None
    if type(value) is str and PLAIN_DECIMAL.fullmatch(value.strip()):
        return float(value) if "." in value else int(value)
    return None


FLAGS = {"true": True, "false": False, "1": True, "0": False}


def flag(value: Any) -> bool | None:
    """True or false. Journeys send the text "true" (docs, engage/journeys)."""
    if type(value) is bool:
        return value
    return FLAGS.get(str(value).strip().lower()) if type(value) in (str, int) else None


def product(value: Any) -> Product | None:
    """One line from a product object; None without an id. Any other value that cannot be read stays at its default."""
    if type(value) is not dict:
        return None
    get = value.get
    # v1 of the ecommerce spec calls the product's id `id` (docs, connections/spec/ecommerce/v2.md, "v1").
    product_id = id_text(get("product_id")) or id_text(get("productId")) or id_text(get("sku")) or id_text(get("id"))
    if product_id is None:
        return None
    variant, name, price, quantity = get("variant"), get("name"), get("price"), get("quantity")
    url, image_url = get("url"), get("image_url") or get("imageUrl")
    return Product(
        product_id,
        (id_text(variant) or "") if variant else "",
        name[:MAX_PRODUCT_NAME_LENGTH] if type(name) is str else "",
        money_text(price) if price is not None else "",
        quantity if type(quantity) is int and 0 <= quantity <= MAX_MONEY else _quantity(quantity),
        _url(url) if url else "",
        _url(image_url) if image_url else "",
    )


def _quantity(value: Any) -> int:
    quantity = number(value)
    if quantity is None or quantity != int(quantity):
        return 1
    return int(quantity) if 0 <= quantity <= MAX_MONEY else 1


def _url(value: Any) -> str:
    if type(value) is not str or not value.startswith(("https://", "http://")) or len(value) > MAX_URL_LENGTH:
        return ""
    is_safe = value.isprintable() and " " not in value and '"' not in value and "<" not in value and ">" not in value
    return value if is_safe else ""


def products(value: Any) -> tuple[Product, ...] | None:
    """The lines that have an id, at most 250; None if there are lines, and no line has an id."""
    if type(value) is not list:
        return None
    lines = tuple([line for line in map(product, value[:MAX_LINES]) if line is not None])
    return lines if lines or not value else None


CONVERTERS: Mapping[FieldType, Callable[[Any], Any]] = {
    "id": id_text,
    "text": text,
    "money": money,
    "number": number,
    "time": time_ms,
    "flag": flag,
    "product": product,
    "products": products,
}
