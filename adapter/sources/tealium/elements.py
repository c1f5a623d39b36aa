"""Tealium's events and visitor profiles → elements: the dicts that the catalog's paths read.

`source.py` builds canonical events from them. An element is the data layer (UDO) itself, whichever shape it came in,
so a path is the name of a variable: `order_total`. A dotted name is a path too: `dom.url`. Added are:

products         the parallel arrays product_id[], product_name[], … as objects; `product` is the first
cart_products    the same for cart_product_id[], …; empty where cart_total_items is 0
dom              what the browser reported of the page (url, title, pathname, referrer)
tealium_event    Freshgate's own "visitor_profile" for a visitor, "visitor_replaced" for an id stitched into it
audience, turn   of a request to an audience's URL, instead of tealium_event: its name, and "joined" or "left"

A visitor's attributes stand under their names in lower case with `_` for spaces: "Customer Email" is
customer_email. Attributes of the visitor win over those of the current visit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from adapter.sources.reading.converters import MAX_LINES, number
from adapter.sources.reading.timestamps import time_ms

PROFILE_EVENT, REPLACED_EVENT = "visitor_profile", "visitor_replaced"
MAX_STEPS = 5
# Array (behind `product_` or `cart_product_`) → the member of a product in the elements of all sources.
COLUMNS = (
    ("name", "name"),
    ("price", "price"),
    # Shopify's name of the price.
    ("unit_price", "price"),
    ("quantity", "quantity"),
    ("variant", "variant"),
    ("url", "url"),
    ("image_url", "image_url"),
)
# Paths in the cookies (`cp.` in a flat data layer) and the data layer, best first (docs, platforms/http-api/endpoint).
VISITOR_IDS = (
    ("cp", "TAPID"),
    ("tealium_visitor_id",),
    ("cp", "utag_main_v_id"),
)
# Milliseconds, ISO text, seconds. `tealium_timestamp_local` is left out: without an offset it is not a point in time.
EVENT_TIMES = ("tealium_timestamp_epoch_milliseconds", "tealium_timestamp_utc", "tealium_timestamp_epoch")
VISIT_DATES = ("last_event_ts", "Last event", "Visit start")
VISITOR_DATES = ("last_event_ts", "Last visit", "last_visit_start_ts")


def is_visitor(payload: Mapping[str, Any]) -> bool:
    """Whether it is a visitor's profile: unlike an event it has attributes grouped by type, and no name."""
    groups = [group for name in ("properties", "current_visit") if type(group := payload.get(name)) is dict]
    has_id = "_id" in payload or any("visitor_id" in group for group in groups)
    return has_id and "tealium_event" not in payload and bool(groups)


def build_event_element(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The element of an event: EventStream's with data.udo, or a flat data layer as Collect's HTTP API has it."""
    layer = _data_layer(payload)
    element = _unflatten(layer)
    data = payload.get("data")
    if type(data) is dict:
        for name, member in (("dom", "dom"), ("cp", "firstparty_tealium_cookies")):
            if type(data.get(member)) is dict:
                element[name] = data[member]
    _add_products(element, layer)
    return element


def build_visitor_element(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The element of a visitor's profile."""
    visit = _object(payload, "current_visit")
    attributes: dict[str, Any] = {}
    for group in (_object(payload, "properties"), _object(payload, "secondary_ids"), _object(visit, "properties")):
        for name, value in group.items():
            attributes.setdefault(name.strip().lower().replace(" ", "_"), value)
    return {**_unflatten(attributes), "tealium_event": PROFILE_EVENT}


def anonymous_ids(payload: Mapping[str, Any], element: Mapping[str, Any]) -> Iterator[Any]:
    """What may be the anonymous id, best first: what Tealium's server decided on, then what the browser had."""
    yield payload.get("visitor_id")
    yield payload.get("_id") if is_visitor(payload) else None
    yield _object(payload, "properties").get("visitor_id")
    for steps in VISITOR_IDS:
        value: Any = element
        for step in steps:
            value = value.get(step) if type(value) is dict else None
        yield value


def replaced_ids(payload: Mapping[str, Any]) -> list[Any]:
    """The ids of visitors that Tealium stitched into this one."""
    ids = payload.get("replaces")
    return ids if type(ids) is list and is_visitor(payload) else []


def event_time(element: Mapping[str, Any]) -> int | None:
    """When the event happened according to its data layer (ms UTC), or None."""
    return _first_time(element.get(name) for name in EVENT_TIMES)


def visitor_time(payload: Mapping[str, Any], audience: str = "") -> int | None:
    """When the visitor joined the audience, if its id is given and known; else when it was last seen (ms UTC)."""
    visit = _object(payload, "current_visit")
    times = [_object(payload, "audiences_joined_at").get(audience) if audience else None]
    times += [_object(visit, "dates").get(name) for name in VISIT_DATES]
    times += [_object(visit, "last_event").get("post_time"), visit.get("creation_ts")]
    times += [_object(payload, "dates").get(name) for name in VISITOR_DATES]
    return _first_time(times)


def _first_time(values: Iterable[Any]) -> int | None:
    return next((at for value in values if (at := time_ms(value)) is not None), None)


def _data_layer(payload: Mapping[str, Any]) -> Mapping[str, Any]:
    data = payload.get("data")
    if type(data) is not dict:
        return payload
    # Without `udo`, `data` is the data layer itself, as the customer chose to send it.
    return data["udo"] if type(data.get("udo")) is dict else data


def _object(parent: Any, name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    return value if type(value) is dict else {}


def _unflatten(layer: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the data layer with its dotted names (`dom.url`, flat on the wire) as nested objects."""
    nested = {name: value for name, value in layer.items() if "." not in name}
    if len(nested) == len(layer):
        return nested
    for name, value in layer.items():
        *steps, last = name.split(".", MAX_STEPS)
        parent = nested
        for step in steps:
            child = parent.get(step)
            # Copied, so that the payload stays as it is.
            parent[step] = {**child} if type(child) is dict else {}
            parent = parent[step]
        if steps:
            parent[last] = value
    return nested


def _add_products(element: dict[str, Any], layer: Mapping[str, Any]) -> None:
    lines = _read_lines(layer, "product_")
    if lines is not None:
        element["products"] = lines
        element["product"] = lines[0] if type(lines) is list else lines
    cart_lines = _read_lines(layer, "cart_product_")
    if cart_lines is None and lines is None and number(layer.get("cart_total_items")) == 0:
        cart_lines = []
    if cart_lines is not None:
        element["cart_products"] = cart_lines


def _read_lines(layer: Mapping[str, Any], prefix: str) -> Any:
    """The parallel arrays as a list of objects, as many as there are ids; None where there are none.

    Official samples have arrays of unequal length (docs, data-layer/definitions/retail): a missing value is left out,
    a surplus one belongs to no product. Empty arrays say nothing: utag sends them on any page.
    """
    ids = layer.get(prefix + "id")
    if ids is None or ids in ("", []):
        ids = layer.get(prefix + "sku")
    if ids is None or ids in ("", []):
        return None
    if type(ids) is dict:
        return ids
    # A missing array leaves its values out.
    columns = [
        (name, _column(value)) for array, name in COLUMNS if (value := layer.get(prefix + array)) not in (None, "", [])
    ]
    return [_line(product_id, columns, index) for index, product_id in enumerate(_column(ids)[:MAX_LINES])]


def _column(value: Any) -> list[Any]:
    # A single item is often sent without its array.
    return value if type(value) is list else [value]


def _line(product_id: Any, columns: list[tuple[str, list[Any]]], index: int) -> dict[str, Any]:
    line = {"product_id": product_id}
    for name, column in columns:
        value = column[index] if index < len(column) else None
        if value is not None and value != "" and name not in line:
            # A link without a scheme takes the page's, and shops are on https.
            line[name] = f"https:{value}" if type(value) is str and value.startswith("//") else value
    return line
