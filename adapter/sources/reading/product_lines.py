"""Products of carts and orders, as CDPs, SDKs and shop plugins send them → `Product`.

A line as it is usually sent is read by `read_usual_line`, at little cost; all others by `read_unusual_line`, which
names what it cannot read: "products.2.price", or "products.2" for a line that is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urljoin

import msgspec

from adapter.sources.reading.converters import MAX_ID_LENGTH, id_text, money_text, number, text
from adapter.sources.reading.salvage import DECODE_ERRORS, decode_leniently
from freshgate.events import Product
from freshgate.ids import JUNK_IDS, junk_key, names_nobody

MAX_QUANTITY = 10**12
MAX_NAME_LENGTH = 200
MAX_URL_LENGTH = 500
JUNK = frozenset(map(junk_key, JUNK_IDS))
UNREADABLE = "?"
# What needs no second look: a link without anything to escape, a few pieces.
USUAL_LINK = re.compile(r"(?:https?:)?//[!#-.0-;=?-~][!#-;=?-~]{0,480}", re.ASCII).fullmatch
MAX_DIGITS = 9
# v1 of the ecommerce spec calls the product's id `id` (docs, connections/spec/ecommerce/v2.md, "v1").
ID_NAMES = ("product_id", "productId", "sku", "id")

# Returns the URL of the page on which it happened, if the element says it.
PageUrl = Callable[[], Any]


class LineRules(NamedTuple):
    """What an event type does with its products.

    needs_id  a line in a cart must be found again; an order's line may have a name alone
    removes   a removal of -1 pieces is one of 1
    """

    needs_id: bool = False
    removes: bool = False


def read_usual_line(line: Any) -> Product | None:
    """The line, if all of it is as CDPs usually send it; None for the slow path."""
    if type(line) is not dict:
        return None
    get = line.get
    product_id, sku, own_id, quantity = get("product_id"), get("sku"), get("id"), get("quantity")
    name: Any = get("name")
    price, variant, url, image_url = get("price"), get("variant"), get("url"), get("image_url")
    if image_url is None:
        image_url = get("imageUrl")
    main_id: Any = product_id or ("" if "productId" in line else sku or own_id)
    price = "" if price is None else money_text(price) or UNREADABLE
    if type(quantity) is str and len(quantity) <= MAX_DIGITS and quantity.isascii() and quantity.isdigit():
        quantity = int(quantity)
    # A link without a scheme takes the page's, and shops are on https. PHP sends false for no link.
    if type(url) is str and USUAL_LINK(url):
        url = url if url[0] != "/" else "https:" + url
    elif url is not None:
        url = "" if url == "" or url is False else UNREADABLE
    if type(image_url) is str and USUAL_LINK(image_url):
        image_url = image_url if image_url[0] != "/" else "https:" + image_url
    elif image_url is not None:
        image_url = "" if image_url == "" or image_url is False else UNREADABLE
    is_usual = (
        type(main_id) is str
        and len(main_id) <= MAX_ID_LENGTH
        and _is_usual_id(main_id)
        and (sku is None or sku is main_id or (type(sku) is str and len(sku) <= MAX_ID_LENGTH and _is_usual_id(sku)))
        and (
            own_id is None
            or own_id is main_id
            or (type(own_id) is str and len(own_id) <= MAX_ID_LENGTH and _is_usual_id(own_id))
        )
        and type(name) is str
        and len(name) <= MAX_NAME_LENGTH
        and price is not UNREADABLE
        and (quantity is None or (type(quantity) is int and 0 <= quantity <= MAX_QUANTITY))
        and (variant is None or (type(variant) is str and len(variant) <= MAX_ID_LENGTH))
        and url is not UNREADABLE
        and image_url is not UNREADABLE
    )
    if not is_usual:
        return None
    return Product(
        main_id,
        variant.strip() if variant else "",
        name,
        price,
        1 if quantity is None else quantity,
        url or "",
        image_url or "",
        sku if sku and sku != main_id else "",
        own_id if own_id and own_id != main_id else "",
        quantity is not None,
    )


def read_unusual_line(line: Any, place: str, faults: list[str], rules: LineRules, page_url: PageUrl) -> Product | None:
    line = decode_text(line)
    if type(line) is not dict:
        faults.append(place)
        return None
    main_id, camel_id, sku, own_id = (_line_id(line.get(name)) or "" for name in ID_NAMES)
    product_id = main_id or camel_id or sku or own_id
    name = _readable(line, "name", text, place, faults)[:MAX_NAME_LENGTH]
    if not product_id and (rules.needs_id or not name.strip()):
        faults.append(place)
        return None
    quantity, has_quantity = _quantity(line.get("quantity"), f"{place}.quantity", faults, rules)
    links = (
        _readable(line, names, lambda link: _link(link, page_url), place, faults)
        for names in ("url", "image_url", "imageUrl")
    )
    url, image_url, other_image_url = links
    return Product(
        product_id,
        _readable(line, "variant", id_text, place, faults),
        name,
        _readable(line, "price", money_text, place, faults),
        quantity,
        url,
        image_url or other_image_url,
        sku if sku != product_id else "",
        own_id if own_id != product_id else "",
        has_quantity,
    )


def _line_id(value: Any) -> str | None:
    """An id that names a product: 0 and null are not ids, since two products of one order may have them."""
    line_id = id_text(value)
    return None if line_id is None or names_nobody(line_id, JUNK) else line_id


@lru_cache(4096)
def _is_usual_id(text: str) -> bool:
    """Whether it names a product just as it is. A shop's products come again and again."""
    return _line_id(text) == text


def _readable(
    line: Mapping[str, Any], name: str, convert: Callable[[Any], str | None], place: str, faults: list[str]
) -> str:
    """The member as text; empty, and named where it is present and cannot be read."""
    value = line.get(name)
    if value is None or value == "" or value is False:
        return ""
    converted = convert(value)
    if not converted:
        faults.append(f"{place}.{name}")
    return converted or ""


def _quantity(value: Any, place: str, faults: list[str], rules: LineRules) -> tuple[int, bool]:
    """Whole pieces, and whether the source sent them."""
    if value is None or value == "":
        return 1, False
    pieces = number(value)
    if pieces is not None and pieces == int(pieces):
        if rules.removes:
            pieces = abs(pieces)
        if 0 <= pieces <= MAX_QUANTITY:
            return int(pieces), True
    faults.append(place)
    return 1, False


def _link(value: Any, page_url: PageUrl) -> str:
    """The absolute link, of http or https; empty if there is none."""
    if type(value) is not str:
        return ""
    link = value.strip().replace(" ", "%20")
    if link.startswith("//"):
        link = "https:" + link
    elif link.startswith("www."):
        link = "https://" + link
    elif link.startswith(("/", "./", "../")):
        base = page_url()
        if type(base) is not str or not base.startswith(("https://", "http://")):
            return ""
        try:
            link = urljoin(base, link)
        except ValueError:
            return ""
    scheme, separator, rest = link.partition("://")
    is_web = separator and scheme.lower() in ("https", "http") and rest[:1] not in ("", "/")
    is_safe = link.isprintable() and not any(char in link for char in ' "<>')
    return link if is_web and is_safe and len(link) <= MAX_URL_LENGTH else ""


def decode_text(value: Any) -> Any:
    """What a JSON text of an object or a list says; any other value as it is."""
    if type(value) is not str or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        return msgspec.json.decode(value)
    except DECODE_ERRORS:
        pass
    try:
        # A NaN in one field does not hide the lines.
        return decode_leniently(value.encode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return value
