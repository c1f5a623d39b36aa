"""One told event as each CDP would post it. The message id draws which one, so a redelivery is the same one's.

`test_processes.py` posts them; `shoppers.py` makes them up.
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
from tests.relevance.shoppers import Told

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
    """What is posted to the receiver."""

    path: str
    body: bytes
    headers: dict[str, str]


def request(told: Told, start_ms: int) -> Request:
    """`start_ms` is the shopper's start, in milliseconds UTC."""
    tellers: tuple[Callable[[Told, int], Request | None], ...] = (_segment, _mparticle, _tealium, _sdk)
    tell = Random(told.message_id).choice(tellers)
    # Not every CDP has a word for everything.
    return tell(told, start_ms + told.occurred) or _segment(told, start_ms + told.occurred)


def _segment(told: Told, at: int) -> Request:
    body = _json(_spec(told, at))
    return Request("/webhooks/segment", body, {"x-signature": sign(SECRET, body)})


def _sdk(told: Told, at: int) -> Request:
    basic = base64.b64encode(f"{KEY}:".encode()).decode()
    return Request("/v1/batch", _json({"batch": [_spec(told, at)]}), {"authorization": f"Basic {basic}"})


def _spec(told: Told, at: int) -> dict[str, Any]:
    """As Segment's spec has it."""
    event: dict[str, Any] = {
        "messageId": told.message_id,
        "timestamp": datetime.fromtimestamp(at / 1000, UTC).isoformat().replace("+00:00", "Z"),
    }
    if told.user:
        event["userId"] = told.user
    if told.anon:
        event["anonymousId"] = told.anon
    if told.name in ("page", "identify"):
        return event | {"type": told.name, "traits": {k: told.fields[k] for k in ("email",) if k in told.fields}}
    fields = told.fields
    properties: dict[str, Any] = {}
    if "product" in fields:
        properties["product_id"] = fields["product"]
    if "products" in fields:
        properties["products"] = [{"product_id": one} for one in fields["products"]]
    for ours, theirs in (("order_id", "order_id"), ("order_email", "email"), ("email", "email")):
        if ours in fields:
            properties[theirs] = fields[ours]
    return event | {"type": "track", "event": TRACKS[told.name], "properties": properties}


def _mparticle(told: Told, at: int) -> Request | None:
    identities = [{"identity_type": "customer_id", "identity": told.user}] if told.user else []
    if "email" in told.fields:
        identities.append({"identity_type": "email", "identity": told.fields["email"]})
    batch: dict[str, Any] = {"user_identities": identities, "timestamp_unixtime_ms": at, "batch_id": told.message_id}
    if told.anon:
        batch["mpid"] = told.anon
    data: dict[str, Any] = {"source_message_id": told.message_id, "timestamp_unixtime_ms": at}
    if told.name in COMMERCE:
        products = told.fields.get("products", [told.fields.get("product")])
        action = {"action": COMMERCE[told.name], "products": [{"id": one} for one in products]}
        attributes = {"email": told.fields["order_email"]} if "order_email" in told.fields else None
        action |= {"transaction_id": told.fields["order_id"]} if "order_id" in told.fields else {}
        data |= {"product_action": action, "promotion_action": None, "custom_attributes": attributes}
        batch["events"] = [{"event_type": "commerce_event", "data": data}]
    elif told.name in ("step", "cancel", "signup", "stop"):
        data |= {"event_name": TRACKS[told.name], "custom_attributes": {"order_id": told.fields.get("order_id")}}
        batch["events"] = [{"event_type": "custom_event", "data": data}]
    elif told.name == "identify" and "email" in told.fields:
        # Who somebody is comes with every batch, and with one that has no events too.
        batch["events"] = []
    else:
        return None
    return Request("/webhooks/mparticle", _json(batch), {"authorization": HEADER})


def _tealium(told: Told, at: int) -> Request | None:
    if "order_email" in told.fields:
        # The data layer has one address only, and it is the person's.
        return None
    layer: dict[str, Any] = {"tealium_event": TEALIUM[told.name], "tealium_timestamp_epoch_milliseconds": str(at)}
    if told.user:
        layer["customer_id"] = told.user
    if "email" in told.fields:
        layer["customer_email"] = told.fields["email"]
    if "order_id" in told.fields:
        layer["order_id"] = told.fields["order_id"]
    if "product" in told.fields:
        layer["product_id"] = [told.fields["product"]]
    if "products" in told.fields:
        layer["product_id"] = list(told.fields["products"])
        if told.name == "cart" and not told.fields["products"]:
            layer["cart_total_items"] = "0"
    event: dict[str, Any] = {"data": {"udo": layer}, "post_time": at, "event_id": told.message_id}
    if told.anon:
        event["visitor_id"] = told.anon
    return Request("/webhooks/tealium", _json(event), {"authorization": HEADER})


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
