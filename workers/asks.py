"""Requests to sources of truth, and what their answers mean: which URL a need asks, what an answer may be. Pure.

`needs.py` asks for them, `asker.py` sends them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

import msgspec

from freshgate.asks import FIELD, TYPES, AnswerType, Ask
from freshgate.events import Product
from freshgate.state.cart import Line
from freshgate.state.fields import About, read_field
from freshgate.state.views import PersonView

# `answered`, or why there is no answer that counts; `cached` is one that was asked for before.
AskResult = Literal[
    "answered", "cached", "timeout", "unreachable", "forbidden", "refused", "too_large", "unreadable", "wrong_type",
    "breaker_open",
]  # fmt: skip
MAX_TEXT_LENGTH = 1000
# Of a product's name and links; as events' are.
MAX_NAME_LENGTH, MAX_URL_LENGTH = 200, 500
MAX_PATH_LENGTH = 2000
# For how long an answer counts where the need takes any age, and at most (ms).
MAX_TTL_MS = 3_600_000


class AskRequest(NamedTuple):
    """One request.

    path   path and query of the URL, with its values; never logged, since they may be somebody's
    since  what was answered before (ms) does not count: it would be too old
    ttl    for how long the answer is kept (ms)
    """

    ask: Ask
    field: str
    path: str
    since: int
    ttl: int

    @property
    def key(self) -> str:
        """The same for everybody who asks the same."""
        return blake2b(f"{self.ask.name}\0{self.path}\0{self.type}".encode(), digest_size=12).hexdigest()

    @property
    def type(self) -> AnswerType:
        return answer_type(self.ask, self.field)


class AskAnswer(NamedTuple):
    """What came of a request: a value, or why there is none.

    at      when it was asked (ms, Redis' clock); of a request without an answer, when that was known
    value   as JSON has it
    status  the HTTP status; None without a reply
    """

    result: AskResult
    at: int
    value: Any = None
    status: int | None = None

    @property
    def is_answered(self) -> bool:
        return self.result in ("answered", "cached")


def answer_type(ask: Ask, field: str) -> AnswerType:
    return TYPES.get(field) or ("text" if field.startswith("profile.") else ask.type)


def build_request(
    ask: Ask, field: str, person: PersonView, about: About, now: int, fresh_for: int | None
) -> AskRequest | None:
    """The request for a field that is missing or stale; None where the URL names a field that nobody told, or an answer
    would have no place. An answer that is fresh is newer than what is stale."""
    head = field.partition(".")[0]
    if head not in ("profile", "cart", "order", "subject") and person.mark(head) is None:
        return None
    values = {}
    for name in ask.fields:
        value = read_field(name, person, about)
        text = _as_text(value.value) if value else ""
        # Dots alone would lead to another folder, whatever is done about slashes.
        if text.strip(".") == "":
            return None
        values[name] = quote(text, safe="")
    path = FIELD.sub(lambda match: values[match[1]], ask.path)
    if len(path) > MAX_PATH_LENGTH:
        return None
    ttl = MAX_TTL_MS if fresh_for is None else min(fresh_for, MAX_TTL_MS)
    return AskRequest(ask, field, path, now - ttl, ttl)


def _as_text(value: Any) -> str:
    if isinstance(value, Product):
        return value.product_id
    if isinstance(value, tuple):
        lines = [line.product if isinstance(line, Line) else line for line in value]
        return ",".join(dict.fromkeys(line.product_id for line in lines if isinstance(line, Product)))
    return str(value) if isinstance(value, str | int | float | Decimal) else ""


def pick_answer(ask: Ask, document: Any) -> Any:
    """What the Ask says is its answer; None where it is not there. A function of the catalog may raise anything."""
    if callable(ask.answer):
        return ask.answer(document)
    for name in filter(None, ask.answer.split(".")):
        if isinstance(document, Mapping):
            document = document.get(name)
        elif isinstance(document, list) and name.isdecimal() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document


def convert_answer(value: Any, kind: AnswerType) -> Any:
    """The value as a mail has it; None for what is not of that type."""
    if kind == "text":
        value = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        return value if isinstance(value, str) and len(value.strip()) > 0 and len(value) <= MAX_TEXT_LENGTH else None
    if kind == "money":
        return _money(value)
    if kind == "number":
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return value if is_number else None
    if kind == "flag":
        return value if isinstance(value, bool) else None
    if kind == "product":
        return _product(value)
    prices = {name: _money(price) for name, price in value.items()} if isinstance(value, Mapping) else {}
    return prices if prices and all(prices.values()) else None


def covers(prices: Mapping[str, str], cart: Sequence[Line]) -> bool:
    """Whether there is a price for all that is in the cart."""
    return all(line.product.line in prices or line.product.product_id in prices for line in cart)


def _money(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return format(amount, "f") if amount.is_finite() and 0 <= amount < 10**12 and len(str(value)) < 30 else None


def _product(value: Any) -> Product | None:
    """Names and links as those of events may be."""
    try:
        product = msgspec.convert({**value, "price": _money(value.get("price")) or ""}, Product)
    except (TypeError, AttributeError, msgspec.ValidationError):
        return None
    is_named = product.name and product.product_id and len(product.name) <= MAX_NAME_LENGTH
    return product if is_named and all(map(_is_link, filter(None, (product.url, product.image_url)))) else None


def _is_link(link: str) -> bool:
    is_safe = link.isprintable() and not any(char in link for char in ' "<>')
    return is_safe and link.startswith(("https://", "http://")) and len(link) <= MAX_URL_LENGTH
