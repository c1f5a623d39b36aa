"""Products of carts and orders, as CDPs, SDKs and shop plugins send them → `Product`.

A line as it is usually sent is read by `read_usual_line`, at little cost; all others by `read_unusual_line`, which
names what it cannot read: "products.2.price", or "products.2" for a line that is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any, NamedTuple
from urllib.parse import urljoin

import msgspec
from msgspec import Meta, convert

from adapter.sources.reading.converters import id_text, money_text, number, text
from adapter.sources.reading.names import MAX_CACHED_LENGTH, fold
from adapter.sources.reading.salvage import DECODE_ERRORS, decode_leniently
from freshgate.events import Product
from freshgate.ids import JUNK_IDS, junk_key, names_nobody

MAX_QUANTITY = 10**12
MAX_NAME_LENGTH = 200
MAX_URL_LENGTH = 500
JUNK = frozenset(map(junk_key, JUNK_IDS))
UNREADABLE = "?"
# What needs no second look: a link without anything to escape, a few pieces, ids and prices of so many characters.
USUAL_LINK = re.compile(r"(?:https?:)?//[!#-.0-;=?-~][!#-;=?-~]{0,480}", re.ASCII).fullmatch
UsualPieces = Annotated[int, Meta(ge=0, le=MAX_QUANTITY)] | Annotated[str, Meta(pattern=r"^[0-9]{1,9}\Z")]
UsualId = Annotated[str, Meta(max_length=100)]
UsualPrice = float | int | Annotated[str, Meta(max_length=40)]
# PHP sends false for no link.
UsualUrl = Annotated[str, Meta(max_length=MAX_URL_LENGTH)] | bool
# v1 of the ecommerce spec calls the product's id `id` (docs, connections/spec/ecommerce/v2.md, "v1").
ID_NAMES = ("product_id", "productId", "sku", "id")

LINE_NAMES = frozenset((*ID_NAMES, "name", "price", "quantity", "variant", "url", "image_url", "imageUrl"))
FOLDED_NAMES = {fold(name): name for name in LINE_NAMES - {"productId", "imageUrl"}}
# What shops' own carts and other CDPs call them, best first; read where the declared name is missing. Shopify and
# RudderStack's Shopify source (rudder-transformer, lineItemsMapping.json), WooCommerce, Google's data layer, Klaviyo.
OTHER_NAMES = {
    **{"productname": "name", "producttitle": "name", "itemname": "name", "title": "name"},
    **{"itemid": "product_id", "unitprice": "price", "itemprice": "price", "productprice": "price"},
    **{"qty": "quantity", "itemvariant": "variant", "variantid": "variant", "variationid": "variant"},
    **{"producturl": "url", "permalink": "url", "productimageurl": "image_url", "image": "image_url"},
}
# Where a line has its product, or the variant of it, as an object of its own.
VARIANTS, NESTED = ("variant", "merchandise"), ("product", "item", "variant", "merchandise")
# Of a line whose spelling is remembered.
MAX_KEYS = 100

# An element → the URL of the page on which it happened, if the element says it.
PageUrl = Callable[[Any], Any]


class LineRules(NamedTuple):
    """What an event type does with its products.

    needs_id  a line in a cart must be found again; an order's line may have a name alone
    removes   a removal of -1 pieces is one of 1
    page_url  what relative links are relative to, in that CDP's elements
    """

    needs_id: bool = False
    removes: bool = False
    page_url: PageUrl = lambda element: None


class UsualLine(msgspec.Struct, frozen=True, gc=False):
    """A line as CDPs usually send it, as far as types and lengths say so: msgspec compares them all in one call."""

    product_id: UsualId | None = None
    camel_id: None = msgspec.field(default=None, name="productId")
    sku: UsualId | None = None
    id: UsualId | None = None
    variant: UsualId | None = None
    name: Annotated[str, Meta(max_length=MAX_NAME_LENGTH)] = ""
    price: UsualPrice | None = None
    quantity: UsualPieces | None = None
    url: UsualUrl | None = None
    image_url: UsualUrl | None = None
    camel_image_url: UsualUrl | None = msgspec.field(default=None, name="imageUrl")


def read_usual_line(line: Any) -> Product | None:
    """The line, if all of it is as CDPs usually send it; None for the slow path."""
    try:
        usual = convert(line, UsualLine)
    except msgspec.ValidationError:
        return None
    ids, quantity = _usual_ids(usual.product_id, usual.sku, usual.id, usual.variant), usual.quantity
    price = "" if usual.price is None else _usual_price(usual.price)
    url, image_url = _usual_link(usual.url), _usual_link(usual.image_url or usual.camel_image_url)
    if ids is None or price is UNREADABLE or url is UNREADABLE or image_url is UNREADABLE:
        return None
    # What is missing may stand there in another spelling.
    is_complete = usual.name and price and quantity is not None and usual.variant and url and image_url
    if not is_complete and (len(line) > MAX_KEYS or other_spellings(tuple(line))):
        return None
    product_id, sku, own_id, variant = ids
    pieces = 1 if quantity is None else int(quantity)
    has_quantity = quantity is not None
    return Product(product_id, variant, usual.name, price, pieces, url, image_url, sku, own_id, has_quantity)


def read_unusual_line(line: Any, place: str, faults: list[str], rules: LineRules, element: Any) -> Product | None:
    line = spelled_as_declared(unnested(decode_text(line)))
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
        _readable(line, names, lambda link: _link(link, rules.page_url, element), place, faults)
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


def spelled_as_declared(line: Any) -> Any:
    """A line with its members also under the names that are read here: `SKU`, "Product ID", `imageURL`. The declared
    spelling wins; what is not an object stays as it is."""
    if type(line) is not dict:
        return line
    others = other_spellings(tuple(line))
    if not others:
        return line
    spelled = dict(line)
    for key, name in others:
        if spelled.get(name) in (None, ""):
            spelled[name] = line[key]
    return spelled


class TooLongToCache(Exception):
    """These keys are a caller's data, which no cache keeps."""


def other_spellings(keys: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The keys that mean a member of a line in another spelling, each with the declared one, best first; and those of
    a product that stands in the line."""
    try:
        return _cached_spellings(keys)
    except TooLongToCache:
        return _other_spellings(keys)


@lru_cache(500)
def _cached_spellings(keys: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    # Asked here, where it costs nothing once they are known: an error is not kept.
    if len(keys) > MAX_KEYS or max(map(len, keys), default=0) > MAX_CACHED_LENGTH:
        raise TooLongToCache
    return _other_spellings(keys)


def _other_spellings(keys: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    folded = {fold(key): key for key in reversed(keys) if key not in LINE_NAMES}
    spelled = [(key, FOLDED_NAMES[name]) for name, key in folded.items() if name in FOLDED_NAMES]
    named = {*keys, *(declared for _, declared in spelled)}
    others = [(folded[name], declared) for name, declared in OTHER_NAMES.items() if name in folded]
    nested = [(key, key) for key in keys if key in NESTED and key not in LINE_NAMES]
    return (*spelled, *(other for other in others if other[1] not in named), *nested)


def unnested(line: Any) -> Any:
    """A line with the members of the product and the variant that stand in it as objects; its own members win."""
    if type(line) is not dict:
        return line
    nested = [(name, line[name]) for name in NESTED if type(line.get(name)) is dict and line[name]]
    if not nested:
        return line
    objects = {name for name, _ in nested}
    flat = {name: value for name, value in line.items() if name not in objects}
    for name, sent in nested:
        inner = spelled_as_declared(sent)
        if name in VARIANTS:
            # Of a variant, its id tells two lines of one product apart; what it is called is a shade or a size.
            flat.setdefault("variant", inner.get("id") or inner.get("name"))
            if type(inner.get("product")) is dict:
                nested.append(("product", inner["product"]))
            inner = {member: value for member, value in inner.items() if member not in ("id", "name")}
        elif "product_id" not in inner and "id" in inner:
            inner = {**inner, "product_id": inner["id"]}
        for member, value in inner.items():
            if member in LINE_NAMES and member != "id" and flat.get(member) in (None, ""):
                flat[member] = value
    return flat


def _line_id(value: Any) -> str | None:
    """An id that names a product: 0 and null are not ids, since two products of one order may have them."""
    line_id = id_text(value)
    return None if line_id is None or names_nobody(line_id, JUNK) else line_id


# A shop's products come again and again, and with them their ids, prices and links. What is kept of them is short.
@lru_cache(4096)
def _usual_ids(
    product_id: str | None, sku: str | None, own_id: str | None, variant: str | None
) -> tuple[str, str, str, str] | None:
    """`product_id`, `sku`, `id` and `variant` of the line, if all that were sent are ids just as they are."""
    main_id = product_id or sku or own_id
    if not main_id or any(sent and _line_id(sent) != sent for sent in (product_id, sku, own_id)):
        return None
    if variant and id_text(variant) != variant:
        return None
    return main_id, _unless_same(sku, main_id), _unless_same(own_id, main_id), variant or ""


def _unless_same(other_id: str | None, main_id: str) -> str:
    return other_id if other_id and other_id != main_id else ""


# Typed, since 5 and 5.0 are equal, and two texts.
@lru_cache(4096, typed=True)
def _usual_price(price: float | int | str) -> str:
    return money_text(price) or UNREADABLE


@lru_cache(4096)
def _usual_link(link: str | bool | None) -> str:
    """The link where it needs no second look, "" for none, else UNREADABLE."""
    if not link:
        return ""
    if type(link) is not str or USUAL_LINK(link) is None:
        return UNREADABLE
    # A link without a scheme takes the page's, and shops are on https.
    return link if link[0] != "/" else "https:" + link


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


def _link(value: Any, page_url: PageUrl, element: Any) -> str:
    """The absolute link, of http or https; empty if there is none."""
    if type(value) is not str:
        return ""
    link = value.strip().replace(" ", "%20")
    if link.startswith("//"):
        link = "https:" + link
    elif link.startswith("www."):
        link = "https://" + link
    elif link.startswith(("/", "./", "../")):
        base = page_url(element)
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
