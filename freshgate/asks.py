"""A source of truth that is asked before a mail is given up on: the shop's stock or price, a CDP's profile API.

`needs.py` names it in a need, `workers/asks.py` makes requests of it, `workers/asker.py` sends them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from freshgate.durations import parse_duration
from freshgate.errors import CatalogError
from freshgate.outbound import UrlError, is_loopback, parse_url

if TYPE_CHECKING:

    class Timeout:
        """Written as "300ms" or in milliseconds; read in milliseconds."""

        def __get__(self, instance: object, owner: Any) -> int: ...
        def __set__(self, instance: object, value: int | str) -> None: ...
else:
    Timeout = int

DEFAULT_TIMEOUT: Any = 300
MAX_TIMEOUT_MS = 5000
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
FIELD = re.compile(r"\{([^{}]*)\}")
# What an answer is: "text" (default), "money" as decimal text, "number", "flag"; "product" is JSON with the names of
# `Product`; "prices" is {product_id: price} of all that is in the cart.
AnswerType = Literal["text", "money", "number", "flag", "product", "prices"]
# Field → what its answer must be, whatever the Ask says.
TYPES: dict[str, AnswerType] = {
    "cart.prices": "prices",
    "view.product": "product",
    "order.total": "money",
    "order.currency": "text",
}


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Asks an HTTP API for one field, by GET, once. Raises CatalogError for what cannot work.

    name     snake_case: its name in metrics, on the trail, and in the settings: [asks.<name>] has its secret
    url      "https://shop.example/stock/{subject.product_id}": fields of the state in braces, in its path or query;
             `cart` is the products' ids, with commas. https, or http on this machine
    timeout  "300ms", at most "5s": for everything, from the name's resolution to the last byte
    answer   where the answer stands in the JSON, "stock.level"; or a pure function of the JSON that returns it, None
             for none; "" (default) is the whole JSON
    type     what the answer must be; for fields of a fixed type, such as cart.prices, that type
    """

    name: str
    url: str
    timeout: Timeout = DEFAULT_TIMEOUT
    answer: str | Callable[[Any], Any] = ""
    type: AnswerType = "text"

    def __post_init__(self) -> None:
        head = f"Ask({self.name!r}): "
        if not NAME.fullmatch(self.name):
            raise CatalogError(f"{head}a name has small letters, digits and _; write it like shop_stock")
        value: Any = self.timeout
        if isinstance(value, str):
            parsed = parse_duration(value)
            if parsed is None:
                raise CatalogError(f'{head}timeout is {value!r}; write it with its unit, like "300ms"')
            msgspec.structs.force_setattr(self, "timeout", parsed)
        if not 0 < self.timeout <= MAX_TIMEOUT_MS:
            raise CatalogError(f'{head}timeout is out of range; write at most "5s"')
        if self.type not in get_args(AnswerType):
            raise CatalogError(f"{head}type is {self.type!r}; write one of {', '.join(get_args(AnswerType))}")
        _check_url(self.url, head)

    @property
    def origin(self) -> str:
        """Scheme, host and port of its URL: "https://shop.example"."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def path(self) -> str:
        """The rest of its URL, with the fields in braces."""
        return self.url.removeprefix(self.origin) or "/"

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that its URL names."""
        return tuple(FIELD.findall(self.url))


def _check_url(url: str, head: str) -> None:
    try:
        target = parse_url(FIELD.sub("x", url))
        host = urlsplit(url).netloc
    except (UrlError, ValueError) as error:
        raise CatalogError(f'{head}url: {error}; write it like "https://shop.example/stock/{{view.id}}"') from None
    if "{" in host or "}" in host or "{" in FIELD.sub("", url) or "}" in FIELD.sub("", url):
        raise CatalogError(f"{head}url: fields stand in its path or query alone, each as {{profile.email}}")
    if target.scheme != "https" and not is_loopback(target.host):
        raise CatalogError(f"{head}url: write https, so that nobody on the way reads or changes the answer")
