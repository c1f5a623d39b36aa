"""Visitors that Tealium stitches together become one person with one cart, who gets nobody else's mail.

`tests/adapter/sources/test_tealium_people.py` tests how the payloads are read.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from adapter.ingest.receive import WebhookRequest
from adapter.sources.tealium.source import TEALIUM
from catalog import EVENTS
from freshgate.settings import SourceSettings
from tests.engine.world import HOUR, MINUTE, World

ADA = "ada@example.com"
SOURCE = TEALIUM.configure("tealium", SourceSettings(kind="tealium", secrets=("s",)), EVENTS)


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def post(world: World, *elements: dict[str, Any]) -> int:
    """Post a batch to the receiver; returns how many events it accepted."""
    headers = {"Authorization": "s"}
    return world.receiver.receive(SOURCE, WebhookRequest(json.dumps(elements).encode(), headers, world.now)).accepted


def event(world: World, name: str, visitor: str, **layer: Any) -> dict[str, Any]:
    return {"tealium_event": name, "tealium_visitor_id": visitor, "tealium_timestamp_epoch": world.now // 1000, **layer}


def profile(world: World, visitor: str, *replaces: str, **attributes: str) -> dict[str, Any]:
    visit = {"dates": {"last_event_ts": world.now}}
    return {"_id": visitor, "properties": attributes, "replaces": list(replaces), "current_visit": visit}


def test_the_cart_of_a_replaced_visitor_is_mailed_to_the_one_it_became(world: World) -> None:
    post(world, event(world, "cart_add", "v-0", product_id=["L-1"]))
    world.now += MINUTE
    assert post(world, profile(world, "v-1", "v-0", customer_email=ADA)) == 2
    world.run(world.now + 3 * HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_purchase_under_the_new_id_cancels_the_cart_of_the_old_one(world: World) -> None:
    post(world, event(world, "cart_add", "v-0", product_id=["L-1"], customer_email=ADA))
    world.now += MINUTE
    order = {"order_id": "1", "product_id": ["L-1"], "customer_email": ADA}
    post(world, profile(world, "v-1", "v-0"), event(world, "purchase", "v-1", **order))
    world.run(world.now + 3 * HOUR)
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_visitor_that_two_customers_replace_is_neithers_twice(world: World) -> None:
    post(world, profile(world, "v-a", "shared", customer_id="ada", customer_email=ADA))
    post(world, profile(world, "v-b", "shared", customer_id="bob", customer_email="bob@example.com"))
    world.now += MINUTE
    post(world, event(world, "cart_add", "shared", product_id=["L-1"]))
    world.run(world.now + 3 * HOUR)
    assert world.mails() == []
    assert world.state("ada")["t:email"].endswith(ADA)
    assert world.state("bob")["t:email"].endswith("bob@example.com")
