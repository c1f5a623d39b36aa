"""One shopper of whom three CDPs and an SDK tell, each in its own words: one person, and no mail after the purchase.

The product is running as its user runs it. What each CDP's words mean is `tests/adapter/sources`' subject.
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
from tests.system.conftest import SHORT, count, is_quiet

HEADER = "Basic c2hvcDpzaG9w"
KEY = "a-write-key"
SOURCES = {
    "FRESHGATE_SOURCES__MPARTICLE__SECRETS": HEADER,
    "FRESHGATE_SOURCES__TEALIUM__SECRETS": HEADER,
    "FRESHGATE_SOURCES__SDK__KIND": "tracking",
    "FRESHGATE_SOURCES__SDK__WRITE_KEYS": KEY,
}
Tell = Callable[[System, "Who"], int]


class Who:
    """Ids that nobody else has. `shared` says what the CDPs have in common: the customer's id, or the address alone."""

    def __init__(self, shared: str) -> None:
        one = uuid4().hex[:12]
        self.email = f"{one}@shoppers.example.com"
        self.user = f"c-{one}" if shared == "customer id" else None
        self.devices = {name: f"{name}-{one}" for name in ("segment", "mparticle", "tealium", "sdk")}
        self.order = f"o-{one}"
        # All of it just happened, in this order, whatever the order of arrival.
        self.viewed, self.added, self.bought = (time.time() - ago for ago in (0.9, 0.6, 0.3))


def post(system: System, path: str, body: Any, headers: dict[str, str]) -> int:
    told = system.request(
        "PORT", "POST", path, json.dumps(body).encode(), {"content-type": "application/json"} | headers
    )
    return told.status


def segment_views(system: System, who: Who) -> int:
    event = {
        "type": "track",
        "event": "Product Viewed",
        "messageId": uuid4().hex,
        "timestamp": datetime.fromtimestamp(who.viewed, UTC).isoformat(),
        "anonymousId": who.devices["segment"],
        "userId": who.user,
        "context": {"traits": {"email": who.email}},
        "properties": {"product_id": "mug", "name": "Mug", "price": 9.5},
    }
    return system.post(event).status


def mparticle_adds(system: System, who: Who) -> int:
    product = {"id": "mug", "name": "Mug", "price": 9.5, "quantity": 1}
    data = {
        "product_action": {"action": "add_to_cart", "products": [product]},
        "promotion_action": None,
        "source_message_id": str(uuid4()),
        "timestamp_unixtime_ms": int(who.added * 1000),
    }
    identities = [{"identity_type": "email", "identity": who.email}]
    if who.user:
        identities.append({"identity_type": "customer_id", "identity": who.user})
    batch = {
        "events": [{"event_type": "commerce_event", "data": data}],
        "user_identities": identities,
        "mpid": who.devices["mparticle"],
        "environment": "production",
        "schema_version": 2,
    }
    return post(system, "/webhooks/mparticle", batch, {"authorization": HEADER})


def tealium_sells(system: System, who: Who) -> int:
    udo = {
        "tealium_event": "purchase",
        "order_id": who.order,
        "order_total": "9.50",
        "order_currency_code": "EUR",
        "product_id": ["mug"],
        "product_name": ["Mug"],
        "product_price": ["9.50"],
        "customer_email": who.email,
        **({"customer_id": who.user} if who.user else {}),
    }
    event = {
        "account": "shop",
        "profile": "main",
        "env": "prod",
        "event_id": str(uuid4()),
        "visitor_id": who.devices["tealium"],
        "post_time": int(who.bought * 1000),
        "data": {"udo": udo},
    }
    return post(system, "/webhooks/tealium", event, {"authorization": HEADER})


def sdk_pages(system: System, who: Who) -> int:
    call = {"anonymousId": who.devices["sdk"], "userId": who.user, "name": "Thank you", "messageId": uuid4().hex}
    basic = base64.b64encode(f"{KEY}:".encode()).decode()
    return post(system, "/v1/page", call, {"authorization": f"Basic {basic}"})


@pytest.fixture(scope="module", params=["customer id", "address"])
def told(request: pytest.FixtureRequest) -> Iterator[tuple[System, str]]:
    identity = {"FRESHGATE_EMAIL_IDENTITY": "true"} if request.param == "address" else {}
    with System(SHORT | SOURCES | identity) as system:
        yield system, request.param


def test_whatever_arrives_first_there_is_one_confirmation_and_no_mail_about_the_cart(told: tuple[System, str]) -> None:
    system, shared = told
    tells: tuple[Tell, ...] = (segment_views, mparticle_adds, tealium_sells)
    shoppers = [(Who(shared), order) for order in permutations(tells)]
    for who, order in shoppers:
        assert [tell(system, who) for tell in (*order, sdk_pages)] == [200, 200, 200, 200]
    decided = len(shoppers)
    system.wait_for(
        lambda: count(system, "freshgate_sends_total", trigger="order_confirmation", outcome="sent") == decided
    )
    system.wait_for(
        lambda: count(system, "freshgate_sends_total", trigger="abandoned_cart", outcome="cancelled") == decided
    )
    system.wait_for(lambda: is_quiet(system))
    sent = sorted((mail["to"], mail["custom_args"]["freshgate_trigger"]) for mail in system.outbox())
    assert sent == sorted((who.email, "order_confirmation") for who, _ in shoppers)
    if shared == "customer id":
        # One person: the trail of the customer has what each of them told.
        for who, _ in shoppers:
            trail = system.why(str(who.user))
            for source in ("segment", "mparticle", "tealium", "sdk"):
                assert f"from {source}: accepted" in trail


def test_without_a_purchase_the_mail_about_the_cart_leaves(told: tuple[System, str]) -> None:
    system, shared = told
    who = Who(shared)
    segment_views(system, who)
    mparticle_adds(system, who)
    (mail,) = system.wait_for(lambda: [mail for mail in system.outbox() if mail["to"] == who.email])
    assert mail["custom_args"]["freshgate_trigger"] == "abandoned_cart"
