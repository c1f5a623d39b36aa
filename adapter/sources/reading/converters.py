"""One converter a FieldType: the value as the CDP sent it → the value of `Event.fields`, or None if unreadable.

`paths.py` compiles them into the spellings of event types, and never calls them with an absent value. Products are read
in `product_lists.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from math import isfinite
from typing import Any

from adapter.sources.reading.amounts import amount_of_object, printed_amount
from adapter.sources.reading.timestamps import time_ms
from freshgate.declare import FieldType
from freshgate.ids import trim

MAX_TEXT_LENGTH = 500
MAX_ID_LENGTH = 256
# Beyond it two whole numbers are the same float.
MAX_EXACT_FLOAT = 2.0**53 - 1
WHOLE_FLOAT = re.compile(r"(-?\d{1,16})\.0{1,6}", re.ASCII)
# Shopify's APIs write ids of their own around the number that its webhooks and pages send.
SHOPIFY_ID = re.compile(r"gid://shopify/[A-Za-z]+/(\d{1,20})(?:\?.*)?", re.ASCII)
MAX_MONEY = 10**12
MAX_MONEY_DIGITS = 12
# As JSON writes numbers.
PLAIN_DECIMAL = re.compile(r"-?\d{1,13}(?:\.\d{1,20})?", re.ASCII)
# The same, but for what shops may have printed as thousands: "1.299" is 1299 in Berlin.
PLAIN_AMOUNT = re.compile(r"-?(?:\d{1,13}(?:\.(?:\d{1,2}|\d{4,20}))?|(?:0|\d{4,13})\.\d{3})", re.ASCII)


def id_text(value: Any) -> str | None:
    """An id as text, without blanks around it, at most 256 characters. A whole number is exact, also as 4711.0."""
    if type(value) is str:
        text = value.strip() if value.isascii() else trim(value)
        # A column of numbers with a gap in it is exported as floats (pandas, spreadsheets).
        if ".0" in text and (whole := WHOLE_FLOAT.fullmatch(text)):
            text = whole[1]
        elif "://" in text and (number := SHOPIFY_ID.fullmatch(text)):
            text = number[1]
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
    """Decimal text without exponent, such as "39.95"; empty if it is not an amount, or could be two."""
    if type(value) is float:
        # `repr` is the shortest text that reads back as the same float: what the shop wrote.
        if not -MAX_MONEY <= value <= MAX_MONEY:
            return ""
        plain = repr(value or 0.0)  # -0.0 is printed as 0.0.
        return plain if "e" not in plain else format(Decimal(plain), "f")
    if type(value) is int:
        return str(value) if abs(value) <= MAX_MONEY else ""
    if type(value) is str:
        plain = value.strip()
        if PLAIN_AMOUNT.fullmatch(plain) is None:
            plain = printed_amount(plain)
        is_small = 0 < len(plain) <= MAX_MONEY_DIGITS
        return plain if is_small or (plain and abs(Decimal(plain)) <= MAX_MONEY) else ""
    if type(value) is dict:
        amount = amount_of_object(value)
        # An API's own text, such as Kuwait's "12.500", was not printed for people.
        is_plain = type(amount) is str and PLAIN_DECIMAL.fullmatch(amount)
        return amount if is_plain and abs(Decimal(amount)) <= MAX_MONEY else money_text(amount)
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


CONVERTERS: Mapping[FieldType, Callable[[Any], Any]] = {
    "id": id_text,
    "text": text,
    "money": money,
    "number": number,
    "time": time_ms,
    "flag": flag,
}
