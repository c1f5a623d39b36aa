"""Tealium's events and visitor profiles → the elements that the catalog's paths are about.

`source.py` makes canonical events of them. An element is the data layer (UDO) itself, whichever shape it came in, so a
path is the name of a variable: `order_total`. A dotted name is a path too: `dom.url`. Added are:

products         the parallel arrays product_id[], product_name[], … as objects; `product` is the first
cart_products    the same of cart_product_id[], …; empty where cart_total_items is 0
dom              what the browser told of the page (url, title, pathname, referrer)
tealium_event    "visitor_profile" of a visitor, "visitor_replaced" of an id that was stitched into it; both are ours
audience, turn   of a request to an audience's URL, instead of tealium_event: its name, and "joined" or "left"

A visitor's attributes stand under their names in small letters with `_` for spaces: "Customer Email" is
customer_email. Those of the visitor win over those of the current visit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from adapter.sources.reading.converters import MAX_LINES, number
from adapter.sources.reading.timestamps import time_ms

PROFILE, REPLACED = "visitor_profile", "visitor_replaced"
MAX_STEPS = 5
# Array (behind `product_` or `cart_product_`) → what the products of all sources call it. Shopify: unit_price.
COLUMNS = (
    ("name", "name"),
    ("price", "price"),
    ("unit_price", "price"),
    ("quantity", "quantity"),
    ("variant", "variant"),
    ("url", "url"),
    ("image_url", "image_url"),
)
# Of the cookies (`cp.` in a flat data layer) and the data layer, best first (docs, platforms/http-api/endpoint).
VISITOR_IDS = (
    ("cp", "TAPID"),
    ("tealium_visitor_id",),
    ("cp", "utag_main_v_id"),
)
# In ms, as an ISO text, in seconds. `tealium_timestamp_local` has no offset and is nobody's time.
EVENT_TIMES = ("tealium_timestamp_epoch_milliseconds", "tealium_timestamp_utc", "tealium_timestamp_epoch")
VISIT_DATES = ("last_event_ts", "Last event", "Visit start")
VISITOR_DATES = ("last_event_ts", "Last visit", "last_visit_start_ts")


def is_visitor(sent: Mapping[str, Any]) -> bool:
    """Whether it is a visitor's profile: unlike an event it has no name, but attributes by kind."""
    inner = [sent.get(name) for name in ("properties", "current_visit")]
    named = "_id" in sent or any("visitor_id" in one for one in inner if type(one) is dict)
    return named and "tealium_event" not in sent and any(type(one) is dict for one in inner)


def event(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The element of an event: EventStream's with data.udo, or a flat data layer as Collect's HTTP API has it."""
    layer = _layer(sent)
    made = _unfolded(layer)
    about = sent.get("data")
    if type(about) is dict:
        for name, theirs in (("dom", "dom"), ("cp", "firstparty_tealium_cookies")):
            if type(about.get(theirs)) is dict:
                made[name] = about[theirs]
    _add_products(made, layer)
    return made


def visitor(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The element of a visitor's profile."""
    visit = _object(sent, "current_visit")
    made: dict[str, Any] = {}
    for told in (_object(sent, "properties"), _object(sent, "secondary_ids"), _object(visit, "properties")):
        for name, value in told.items():
            made.setdefault(name.strip().lower().replace(" ", "_"), value)
    return {**_unfolded(made), "tealium_event": PROFILE}


def visitor_ids(sent: Mapping[str, Any], made: Mapping[str, Any]) -> Iterator[Any]:
    """What may be the anonymous id, best first: what Tealium's server settled on, then what the browser had."""
    yield sent.get("visitor_id")
    yield sent.get("_id") if is_visitor(sent) else None
    yield _object(sent, "properties").get("visitor_id")
    for steps in VISITOR_IDS:
        value: Any = made
        for step in steps:
            value = value.get(step) if type(value) is dict else None
        yield value


def replaced(sent: Mapping[str, Any]) -> list[Any]:
    """The ids of visitors that turned out to be this one."""
    told = sent.get("replaces")
    return told if type(told) is list and is_visitor(sent) else []


def event_time(made: Mapping[str, Any]) -> int | None:
    """When the event happened by its own word (ms UTC), or None."""
    return next((at for name in EVENT_TIMES if (at := time_ms(made.get(name))) is not None), None)


def visitor_time(sent: Mapping[str, Any], audience: str = "") -> int | None:
    """When the visitor joined the audience, if its id is told, else when it was last seen (ms UTC)."""
    visit = _object(sent, "current_visit")
    joined = _object(sent, "audiences_joined_at").get(audience) if audience else None
    told = [joined]
    told += [_object(visit, "dates").get(name) for name in VISIT_DATES]
    told += [_object(visit, "last_event").get("post_time"), visit.get("creation_ts")]
    told += [_object(sent, "dates").get(name) for name in VISITOR_DATES]
    return next((at for value in told if (at := time_ms(value)) is not None), None)


def _layer(sent: Mapping[str, Any]) -> Mapping[str, Any]:
    data = sent.get("data")
    if type(data) is not dict:
        return sent
    # Without `udo` it is a data layer that the customer put there.
    return data["udo"] if type(data.get("udo")) is dict else data


def _object(value: Any, name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if type(found) is dict else {}


def _unfolded(layer: Mapping[str, Any]) -> dict[str, Any]:
    """The data layer with its dotted names (`dom.url`, flat on the wire) as objects; the layer itself is left alone."""
    made = {name: value for name, value in layer.items() if "." not in name}
    for name, value in layer.items():
        *steps, last = name.split(".", MAX_STEPS)
        at = made
        for step in steps:
            inner = at.get(step)
            at[step] = {**inner} if type(inner) is dict else {}
            at = at[step]
        if steps:
            at[last] = value
    return made


def _add_products(made: dict[str, Any], layer: Mapping[str, Any]) -> None:
    lines = _lines(layer, "product_")
    if lines is not None:
        made["products"] = lines
        made["product"] = lines[0] if type(lines) is list else lines
    in_cart = _lines(layer, "cart_product_")
    if in_cart is None and lines is None and number(layer.get("cart_total_items")) == 0:
        in_cart = []
    if in_cart is not None:
        made["cart_products"] = in_cart


def _lines(layer: Mapping[str, Any], prefix: str) -> Any:
    """The parallel arrays as a list of objects, as long as the ids'; None where there are none.

    Official samples have arrays of unequal length (docs, data-layer/definitions/retail): what is missing is left out,
    what is too much belongs to nothing. Empty arrays say nothing: utag sends them on any page.
    """
    ids = layer.get(prefix + "id")
    if ids is None or ids in ("", []):
        ids = layer.get(prefix + "sku")
    if ids is None or ids in ("", []):
        return None
    if type(ids) is dict:
        return ids
    columns = [(name, _column(layer.get(prefix + array))) for array, name in COLUMNS]
    return [_line(one, columns, index) for index, one in enumerate(_column(ids)[:MAX_LINES])]


def _column(value: Any) -> list[Any]:
    # One item is often sent without its array.
    return value if type(value) is list else [value]


def _line(product_id: Any, columns: list[tuple[str, list[Any]]], index: int) -> dict[str, Any]:
    line = {"product_id": product_id}
    for name, column in columns:
        value = column[index] if index < len(column) else None
        if value is not None and value != "" and name not in line:
            # Links without a scheme are the page's own, and shops are on https.
            line[name] = f"https:{value}" if type(value) is str and value.startswith("//") else value
    return line
