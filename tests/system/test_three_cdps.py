"""Three CDPs and an SDK post events of one shopper: they become one person, who gets no mail after the purchase.

The product runs as its user runs it; `tests/adapter/sources` has how the payloads of each CDP are read.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import permutations
from typing import Any
from uuid import uuid4

import pytest

from tests.harness.system import System
from tests.system.conftest import SHORT, counter_total, is_quiet

HEADER = "Basic c2hvcDpzaG9w"
KEY = "a-write-key"
SOURCES = {
    "FRESHGATE_SOURCES__MPARTICLE__SECRETS": HEADER,
    "FRESHGATE_SOURCES__TEALIUM__SECRETS": HEADER,
    "FRESHGATE_SOURCES__SDK__KIND": "tracking",
    "FRESHGATE_SOURCES__SDK__WRITE_KEYS": KEY,
}
# Posts one event of a shopper; returns the status of the response.
Post = Callable[[System, "Shopper"], int]


class Shopper:
    """A person with unique ids. `shared` is the id that all CDPs know: "customer id", or the "address" alone."""

    def __init__(self, shared: str) -> None:
        suffix = uuid4().hex[:12]
        self.email = f"{suffix}@shoppers.example.com"
        self.user = f"c-{suffix}" if shared == "customer id" else None
        self.devices = {name: f"{name}-{suffix}" for name in ("segment", "mparticle", "tealium", "sdk")}
        self.order = f"o-{suffix}"
        # Times of occurrence; the order of arrival varies.
        self.viewed, self.added, self.bought = (time.time() - seconds for seconds in (0.9, 0.6, 0.3))


def post(system: System, path: str, body: Any, headers: dict[str, str]) -> int:
    all_headers = {"content-type": "application/json"} | headers
    return system.request("PORT", "POST", path, json.dumps(body).encode(), all_headers).status


def post_view_by_segment(system: System, shopper: Shopper) -> int:
    event = {
        "type": "track",
        "event": "Product Viewed",
        "messageId": uuid4().hex,
        "timestamp": datetime.fromtimestamp(shopper.viewed, UTC).isoformat(),
        "anonymousId": shopper.devices["segment"],
        "userId": shopper.user,
        "context": {"traits": {"email": shopper.email}},
        "properties": {"product_id": "mug", "name": "Mug", "price": 9.5},
    }
    return system.post(event).status


def post_add_by_mparticle(system: System, shopper: Shopper) -> int:
    product = {"id": "mug", "name": "Mug", "price": 9.5, "quantity": 1}
    data = {
        "product_action": {"action": "add_to_cart", "products": [product]},
        "promotion_action": None,
        "source_message_id": str(uuid4()),
        "timestamp_unixtime_ms": int(shopper.added * 1000),
    }
    identities = [{"identity_type": "email", "identity": shopper.email}]
    if shopper.user:
        identities.append({"identity_type": "customer_id", "identity": shopper.user})
    batch = {
        "events": [{"event_type": "commerce_event", "data": data}],
        "user_identities": identities,
        "mpid": shopper.devices["mparticle"],
        "environment": "production",
        "schema_version": 2,
    }
    return post(system, "/webhooks/mparticle", batch, {"authorization": HEADER})


def post_purchase_by_tealium(system: System, shopper: Shopper) -> int:
    udo = {
        "tealium_event": "purchase",
        "order_id": shopper.order,
        "order_total": "9.50",
        "order_currency_code": "EUR",
        "product_id": ["mug"],
        "product_name": ["Mug"],
        "product_price": ["9.50"],
        "customer_email": shopper.email,
        **({"customer_id": shopper.user} if shopper.user else {}),
    }
    event = {
        "account": "shop",
        "profile": "main",
        "env": "prod",
        "event_id": str(uuid4()),
        "visitor_id": shopper.devices["tealium"],
        "post_time": int(shopper.bought * 1000),
        "data": {"udo": udo},
    }
    return post(system, "/webhooks/tealium", event, {"authorization": HEADER})


def post_page_by_sdk(system: System, shopper: Shopper) -> int:
    page = {
        "anonymousId": shopper.devices["sdk"],
        "userId": shopper.user,
        "name": "Thank you",
        "messageId": uuid4().hex,
    }
    basic = base64.b64encode(f"{KEY}:".encode()).decode()
    return post(system, "/v1/page", page, {"authorization": f"Basic {basic}"})


@pytest.fixture(scope="module", params=["customer id", "address"])
def deployment(request: pytest.FixtureRequest) -> Iterator[tuple[System, str]]:
    """A running product, and the id that its CDPs share."""
    identity = {"FRESHGATE_EMAIL_IDENTITY": "true"} if request.param == "address" else {}
    with System(SHORT | SOURCES | identity) as system:
        yield system, request.param


def test_whatever_arrives_first_there_is_one_confirmation_and_no_mail_about_the_cart(
    deployment: tuple[System, str],
) -> None:
    system, shared = deployment
    posts: tuple[Post, ...] = (post_view_by_segment, post_add_by_mparticle, post_purchase_by_tealium)
    shoppers = [(Shopper(shared), order) for order in permutations(posts)]
    for shopper, order in shoppers:
        assert [post_event(system, shopper) for post_event in (*order, post_page_by_sdk)] == [200, 200, 200, 200]
    decided = len(shoppers)
    system.wait_for(
        lambda: counter_total(system, "freshgate_sends_total", trigger="order_confirmation", outcome="sent") == decided
    )
    system.wait_for(
        lambda: counter_total(system, "freshgate_sends_total", trigger="abandoned_cart", outcome="cancelled") == decided
    )
    system.wait_for(lambda: is_quiet(system))
    sent = sorted((mail["to"], mail["custom_args"]["freshgate_trigger"]) for mail in system.outbox())
    assert sent == sorted((shopper.email, "order_confirmation") for shopper, _ in shoppers)
    if shared == "customer id":
        # One person: the customer's trail has the events of all sources.
        for shopper, _ in shoppers:
            trail = system.why(str(shopper.user))
            for source in ("segment", "mparticle", "tealium", "sdk"):
                assert f"from {source}: accepted" in trail


def test_without_a_purchase_the_mail_about_the_cart_leaves(deployment: tuple[System, str]) -> None:
    system, shared = deployment
    shopper = Shopper(shared)
    post_view_by_segment(system, shopper)
    post_add_by_mparticle(system, shopper)
    (mail,) = system.wait_for(lambda: [mail for mail in system.outbox() if mail["to"] == shopper.email])
    assert mail["custom_args"]["freshgate_trigger"] == "abandoned_cart"
