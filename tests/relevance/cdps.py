"""One event as each CDP posts it. The message id selects the CDP, so a redelivery comes from the same one.

`test_processes.py` posts the requests; `shoppers.py` makes up the events.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any, NamedTuple

from adapter.sources.segment.signature import sign
from tests.harness.system import SECRET
from tests.relevance.shoppers import Arrival

HEADER = "Basic c2hvcDpzaG9w"
KEY = "a-write-key"
ENVIRON = {
    "FRESHGATE_SOURCES__MPARTICLE__SECRETS": HEADER,
    "FRESHGATE_SOURCES__TEALIUM__SECRETS": HEADER,
    "FRESHGATE_SOURCES__SDK__KIND": "tracking",
    "FRESHGATE_SOURCES__SDK__WRITE_KEYS": KEY,
}
TRACKS = {
    "view": "Product Viewed",
    "add": "Product Added",
    "remove": "Product Removed",
    "cart": "Cart Viewed",
    "step": "Checkout Step Viewed",
    "order": "Order Completed",
    "cancel": "Order Cancelled",
    "signup": "Signed Up",
    "stop": "Unsubscribed",
}
COMMERCE = {"view": "view_detail", "add": "add_to_cart", "remove": "remove_from_cart", "order": "purchase"}
TEALIUM = {
    "view": "product_view",
    "add": "cart_add",
    "remove": "cart_remove",
    "cart": "cart_view",
    "step": "checkout_step_viewed",
    "order": "purchase",
    "cancel": "order_cancelled",
    "signup": "user_register",
    "identify": "user_update",
    "page": "page_view",
    "stop": "unsubscribed",
}


class Request(NamedTuple):
    """One POST to the receiver."""

    path: str
    body: bytes
    headers: dict[str, str]


def to_request(arrival: Arrival, start_ms: int) -> Request:
    """The request that brings an event; `start_ms` is the shopper's start, in ms UTC."""
    cdps: tuple[Callable[[Arrival, int], Request | None], ...] = (_segment, _mparticle, _tealium, _sdk)
    build_request = Random(arrival.message_id).choice(cdps)
    at = start_ms + arrival.occurred_at
    # A CDP that cannot express the event leaves it to Segment.
    return build_request(arrival, at) or _segment(arrival, at)


def _segment(arrival: Arrival, at: int) -> Request:
    body = _json(_spec(arrival, at))
    return Request("/webhooks/segment", body, {"x-signature": sign(SECRET, body)})


def _sdk(arrival: Arrival, at: int) -> Request:
    basic = base64.b64encode(f"{KEY}:".encode()).decode()
    return Request("/v1/batch", _json({"batch": [_spec(arrival, at)]}), {"authorization": f"Basic {basic}"})


def _spec(arrival: Arrival, at: int) -> dict[str, Any]:
    """The event in the form of the Segment Spec."""
    event: dict[str, Any] = {
        "messageId": arrival.message_id,
        "timestamp": datetime.fromtimestamp(at / 1000, UTC).isoformat().replace("+00:00", "Z"),
    }
    if arrival.user:
        event["userId"] = arrival.user
    if arrival.anon:
        event["anonymousId"] = arrival.anon
    fields = arrival.fields
    if arrival.name in ("page", "identify"):
        traits = {"email": fields["email"]} if "email" in fields else {}
        return event | {"type": arrival.name, "traits": traits}
    properties: dict[str, Any] = {}
    if "product" in fields:
        # In full: a mail about a viewed product needs its name.
        properties |= {"product_id": fields["product"], "name": f"Product {fields['product']}"}
    if "products" in fields:
        properties["products"] = [{"product_id": product_id} for product_id in fields["products"]]
    for field, segment_name in (("order_id", "order_id"), ("order_email", "email"), ("email", "email")):
        if field in fields:
            properties[segment_name] = fields[field]
    return event | {"type": "track", "event": TRACKS[arrival.name], "properties": properties}


def _mparticle(arrival: Arrival, at: int) -> Request | None:
    identities = [{"identity_type": "customer_id", "identity": arrival.user}] if arrival.user else []
    if "email" in arrival.fields:
        identities.append({"identity_type": "email", "identity": arrival.fields["email"]})
    batch: dict[str, Any] = {"user_identities": identities, "timestamp_unixtime_ms": at, "batch_id": arrival.message_id}
    if arrival.anon:
        batch["mpid"] = arrival.anon
    data: dict[str, Any] = {"source_message_id": arrival.message_id, "timestamp_unixtime_ms": at}
    if arrival.name in COMMERCE:
        products = arrival.fields.get("products", [arrival.fields.get("product")])
        action = {
            "action": COMMERCE[arrival.name],
            "products": [{"id": product_id, "name": f"Product {product_id}"} for product_id in products],
        }
        attributes = {"email": arrival.fields["order_email"]} if "order_email" in arrival.fields else None
        action |= {"transaction_id": arrival.fields["order_id"]} if "order_id" in arrival.fields else {}
        data |= {"product_action": action, "promotion_action": None, "custom_attributes": attributes}
        batch["events"] = [{"event_type": "commerce_event", "data": data}]
    elif arrival.name in ("step", "cancel", "signup", "stop"):
        data |= {"event_name": TRACKS[arrival.name], "custom_attributes": {"order_id": arrival.fields.get("order_id")}}
        batch["events"] = [{"event_type": "custom_event", "data": data}]
    elif arrival.name == "identify" and "email" in arrival.fields:
        # A batch without events still carries identities.
        batch["events"] = []
    else:
        return None
    return Request("/webhooks/mparticle", _json(batch), {"authorization": HEADER})


def _tealium(arrival: Arrival, at: int) -> Request | None:
    if "order_email" in arrival.fields:
        # The data layer has one address only, the person's.
        return None
    layer: dict[str, Any] = {"tealium_event": TEALIUM[arrival.name], "tealium_timestamp_epoch_milliseconds": str(at)}
    if arrival.user:
        layer["customer_id"] = arrival.user
    if "email" in arrival.fields:
        layer["customer_email"] = arrival.fields["email"]
    if "order_id" in arrival.fields:
        layer["order_id"] = arrival.fields["order_id"]
    if "product" in arrival.fields:
        layer |= {"product_id": [arrival.fields["product"]], "product_name": [f"Product {arrival.fields['product']}"]}
    if "products" in arrival.fields:
        layer["product_id"] = list(arrival.fields["products"])
        if arrival.name == "cart" and not arrival.fields["products"]:
            layer["cart_total_items"] = "0"
    event: dict[str, Any] = {"data": {"udo": layer}, "post_time": at, "event_id": arrival.message_id}
    if arrival.anon:
        event["visitor_id"] = arrival.anon
    return Request("/webhooks/tealium", _json(event), {"authorization": HEADER})


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
