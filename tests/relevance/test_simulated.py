"""No wrong mail, no missing mail: thousands of shoppers on a simulated clock, against the oracle.

The planner, functions, gate and ledger are real, on a real Redis. An event may arrive at any moment but a due one.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from redis import Redis

from catalog import TRIGGERS
from tests.engine.world import START, World, product
from tests.relevance.oracle import Mail, Oracle, Rules
from tests.relevance.shoppers import Arrival, Shopper, build_shopper

SHOPPERS = 5000
RULES = Rules(cart_delay=4000, cart_settle=2000, browse_delay=5000, browse_settle=2000, order_grace=1000)
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


def build_world(redis: Redis) -> World:
    times = {
        "abandoned_cart": (RULES.cart_delay, RULES.cart_settle),
        "browse_abandonment": (RULES.browse_delay, RULES.browse_settle),
    }
    triggers = []
    for trigger in TRIGGERS:
        delay, settle = times.get(trigger.name, (trigger.delay, trigger.settle))
        triggers.append(msgspec.structs.replace(trigger, delay=delay, settle=settle, address_cap=(10, 3_600_000)))
    return World(redis, triggers, order_grace=RULES.order_grace)


def to_event(world: World, arrival: Arrival) -> Any:
    fields = dict(arrival.fields)
    if "product" in fields:
        fields["product"] = product(fields["product"])
    if "products" in fields:
        fields["products"] = tuple(product(product_id) for product_id in fields["products"])
    return world.event(
        NAMES[arrival.name],
        at=START + arrival.occurred_at,
        user=arrival.user,
        anon=arrival.anon,
        message_id=arrival.message_id,
        **fields,
    )


def simulate(world: World, shopper: Shopper) -> list[Mail]:
    """The mails that the engine sends to this shopper, sorted."""
    world.client.flushdb()
    world.receiver.recorder._linked.clear()
    world.esp.mails.clear()
    world.now = START
    for arrival in shopper.arrivals:
        world.run(START + arrival.arrives_at - 1)
        world.now = START + arrival.arrives_at
        world.record(to_event(world, arrival))
        world.run()
    world.run(START + 60_000)
    return sorted(
        Mail(
            mail.trigger,
            mail.to,
            (mail.template_data["order_id"],)
            if mail.trigger == "order_confirmation"
            else tuple(sorted(line["product_id"] for line in mail.template_data.get("products", ()))),
        )
        for mail in world.esp.mails
    )


@pytest.mark.timeout(240)
def test_every_shopper_gets_exactly_the_mails_of_the_oracle(redis: Redis) -> None:
    world = build_world(redis)
    mailed = 0
    for seed in range(SHOPPERS):
        shopper = build_shopper(seed, second=1000)
        oracle = Oracle(shopper, RULES)
        expected = sorted(oracle.mails)
        if any(arrival.arrives_at in oracle.moments for arrival in shopper.arrivals):
            continue
        assert simulate(world, shopper) == expected, f"seed {seed}: {shopper.arrivals}"
        mailed += len(expected)
    assert mailed > SHOPPERS / 2
