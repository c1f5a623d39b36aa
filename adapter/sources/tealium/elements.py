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

from adapter.sources.reading.converters import number
from adapter.sources.reading.names import fold
from adapter.sources.reading.paths import alternatives
from adapter.sources.reading.product_lines import decode_text
from adapter.sources.reading.product_lists import MAX_LINES
from adapter.sources.reading.timestamps import time_ms
from freshgate.declare import EventType

PROFILE_EVENT, REPLACED_EVENT = "visitor_profile", "visitor_replaced"
CART = "cart_products"
MAX_STEPS = 5
# Array (behind `product_` or `cart_product_`) → the member of a product in the elements of all sources. The first three
# say how many products there are.
COLUMNS = (
    ("id", "product_id"),
    ("sku", "sku"),
    ("name", "name"),
    ("price", "price"),
    # Shopify's name of the price.
    ("unit_price", "price"),
    ("quantity", "quantity"),
    ("variant", "variant"),
    ("url", "url"),
    ("image_url", "image_url"),
)
ARRAYS = {
    prefix: tuple((prefix + array, member) for array, member in COLUMNS) for prefix in ("product_", "cart_product_")
}
# Paths in the cookies (`cp.` in a flat data layer) and the data layer, best first (docs, platforms/http-api/endpoint).
VISITOR_IDS = (
    ("cp", "TAPID"),
    ("tealium_visitor_id",),
    ("cp", "utag_main_v_id"),
)
# The event's own times. `tealium_timestamp_local` is left out: without an offset it is not a point in time.
MILLIS_TIME = "tealium_timestamp_epoch_milliseconds"
UTC_TIME = "tealium_timestamp_utc"
SECONDS_TIME = "tealium_timestamp_epoch"
VISIT_DATES = ("last_event_ts", "Last event", "Visit start")
VISITOR_DATES = ("last_event_ts", "Last visit", "last_visit_start_ts")


def is_visitor(payload: Mapping[str, Any]) -> bool:
    """Whether it is a visitor's profile: unlike an event it has attributes grouped by type, and no name."""
    properties, visit = payload.get("properties"), payload.get("current_visit")
    if "tealium_event" in payload or (type(properties) is not dict and type(visit) is not dict):
        return False
    return "_id" in payload or any("visitor_id" in group for group in (properties, visit) if type(group) is dict)


def build_event_element(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The element of an event: EventStream's with data.udo, or a flat data layer as Collect's HTTP API has it.

    `add_cart` adds the products of the cart, which most event types do not read.
    """
    layer = _data_layer(payload)
    element = _unflatten(layer)
    data = payload.get("data")
    if type(data) is dict:
        for name, member in (("dom", "dom"), ("cp", "firstparty_tealium_cookies")):
            if type(data.get(member)) is dict:
                element[name] = data[member]
    lines = _read_lines(layer, "product_")
    if lines is not None:
        element["products"] = lines
        element["product"] = lines[0] if type(lines) is list else lines
    return element


def add_cart(element: dict[str, Any], payload: Mapping[str, Any]) -> dict[str, Any]:
    """The element of an event, with the products of the cart."""
    layer = _data_layer(payload)
    lines = _read_lines(layer, "cart_product_")
    if lines is None and number(layer.get("cart_total_items")) == 0 and _read_lines(layer, "product_") is None:
        lines = []
    if lines is not None:
        element[CART] = lines
    return element


def reads_cart(event: EventType) -> bool:
    """Whether the event type reads the products of the cart, however its paths spell them."""
    spelling = event.sources.get("tealium")
    if spelling is None:
        return False
    paths = (path for options in spelling.paths.values() for path in alternatives(options))
    return spelling.read is not None or any(fold(path.partition(".")[0]) == fold(CART) for path in paths)


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


def event_times(element: Mapping[str, Any]) -> tuple[Any, ...]:
    """When the event happened according to its data layer: as sent, best first."""
    # It is UTC by its name, also without an offset.
    utc = element.get(UTC_TIME)
    return (element.get(MILLIS_TIME), time_ms(utc) or utc, element.get(SECONDS_TIME))


def visitor_times(payload: Mapping[str, Any], audience: str = "") -> tuple[Any, ...]:
    """When the visitor joined the audience, if its id is given; then when it was last seen: as sent, best first."""
    visit = _object(payload, "current_visit")
    return (
        _object(payload, "audiences_joined_at").get(audience) if audience else None,
        *(_object(visit, "dates").get(name) for name in VISIT_DATES),
        _object(visit, "last_event").get("post_time"),
        visit.get("creation_ts"),
        *(_object(payload, "dates").get(name) for name in VISITOR_DATES),
    )


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
    if "." not in "".join(layer):
        return {**layer}
    nested = {name: value for name, value in layer.items() if "." not in name}
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


def _read_lines(layer: Mapping[str, Any], prefix: str) -> Any:
    """The parallel arrays as a list of objects, as many as there are ids, or names; None where there are none.

    Official samples have arrays of unequal length (docs, data-layer/definitions/retail): a missing value is left out,
    a surplus one belongs to no product. Empty arrays say nothing: utag sends them on any page.
    """
    arrays = ARRAYS[prefix]
    for name, _ in arrays[:3]:
        ids = layer.get(name)
        if ids is not None and ids not in ("", []):
            break
    else:
        return None
    if type(ids) is str and ids[:1] in ("[", "{"):
        # A server's or an extension's JSON.stringify.
        layer = {column: decode_text(layer.get(column)) for column, _ in arrays}
        ids = layer[name]
    if type(ids) is dict:
        return ids
    if type(ids) is not list or len(ids) == 1:
        return [_single_line(layer, arrays)]
    columns = []
    for name, member in arrays:
        values = layer.get(name)
        if type(values) is list:
            if values:
                columns.append((member, values))
        elif values is not None and values != "":
            # A single item is often sent without its array.
            columns.append((member, [values]))
    # One more than is read, so that the reader can say that there were more.
    return [_line(columns, index) for index in range(min(len(ids), MAX_LINES + 1))]


def _single_line(layer: Mapping[str, Any], arrays: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The line of arrays of which only the first values count: as `_line`, without the columns."""
    line: dict[str, Any] = {}
    for name, member in arrays:
        value = layer.get(name)
        if type(value) is list:
            value = value[0] if value else None
        if value is not None and value != "" and member not in line:
            line[member] = value
    return line


def _line(columns: list[tuple[str, list[Any]]], index: int) -> dict[str, Any]:
    line = {}
    for member, column in columns:
        if index < len(column):
            value = column[index]
            if value is not None and value != "" and member not in line:
                line[member] = value
    return line
