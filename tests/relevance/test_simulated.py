"""No wrong mail, no missing mail: thousands of shoppers on a simulated clock, against the oracle.

The real planner, functions, gate and ledger on a real Redis; arrivals may come at any moment but the very due one.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from redis import Redis

from catalog import TRIGGERS
from freshgate.state import keys
from tests.engine.world import START, World, product
from tests.relevance.oracle import Mail, Oracle, Rules
from tests.relevance.shoppers import Shopper, Told, shopper

SHOPPERS = 5000
RULES = Rules(cart_wait=4000, cart_settle=2000, browse_wait=5000, browse_settle=2000, order_grace=120_000)
NAMES = {
    "view": "Product Viewed",
    "add": "Product Added",
    "remove": "Product Removed",
    "cart": "Cart Viewed",
    "step": "Checkout Step Viewed",
    "order": "Order Completed",
    "cancel": "Order Cancelled",
    "page": "Page",
    "identify": "Identify",
    "signup": "Signed Up",
    "stop": "Unsubscribed",
}


def world_of(redis: Redis) -> World:
    wanted = {"abandoned_cart": (RULES.cart_wait, RULES.cart_settle), "browse_abandonment": (5000, 2000)}
    triggers = [
        msgspec.structs.replace(one, delay=wanted[one.name][0], settle=wanted[one.name][1])
        if one.name in wanted
        else one
        for one in TRIGGERS
    ]
    return World(redis, triggers)


def canonical(world: World, told: Told) -> Any:
    fields = dict(told.fields)
    if "product" in fields:
        fields["product"] = product(fields["product"])
    if "products" in fields:
        fields["products"] = tuple(product(one) for one in fields["products"])
    return world.event(
        NAMES[told.name],
        at=START + told.occurred,
        user=told.user,
        anon=told.anon,
        message_id=told.message_id,
        **fields,
    )


def live(world: World, one: Shopper) -> list[Mail]:
    world.client.flushdb()
    world.receiver.recorder._linked.clear()
    world.esp.mails.clear()
    world.now = START
    for told in one.told:
        world.run(START + told.arrives - 1)
        world.now = START + told.arrives
        world.record(canonical(world, told))
        world.run()
    world.run(START + 60_000)
    return sorted(
        Mail(
            mail.trigger,
            mail.to,
            (mail.data["order_id"],)
            if mail.trigger == "order_confirmation"
            else tuple(sorted(line["product_id"] for line in mail.data.get("products", ()))),
        )
        for mail in world.esp.mails
    )


@pytest.mark.timeout(240)
def test_every_shopper_gets_exactly_the_mails_of_the_oracle(redis: Redis) -> None:
    world = world_of(redis)
    mailed = 0
    for seed in range(SHOPPERS):
        one = shopper(seed, second=1000)
        oracle = Oracle(one, RULES)
        expected = sorted(oracle.mails)
        if any(told.arrives in oracle.moments for told in one.told):
            continue
        world.shards = {
            keys.shard(keys.person_id("main", told.user if known else None, None if known else told.anon))
            for told in one.told
            for known in (True, False)
            if (told.user if known else told.anon) is not None
        } | {
            keys.shard(keys.order_id("main", told.fields["order_id"])) for told in one.told if "order_id" in told.fields
        }
        assert live(world, one) == expected, f"seed {seed}: {one.told}"
        mailed += len(expected)
    assert mailed > SHOPPERS / 2
