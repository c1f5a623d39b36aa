"""A trait that says that a person opted out, as an Identify tells it."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from redis import Redis

from tests.engine.world import HOUR, MINUTE, World, product

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
@pytest.mark.parametrize("address", [{"email": ADA}, {}], ids=["with the address", "without"])
def test_it_stops_marketing_mail_whatever_arrives_first(
    world: World, order: tuple[int, ...], address: dict[str, Any]
) -> None:
    start = world.now
    world.now += 5 * MINUTE
    events = [
        world.event("Identify", user="ada", unsubscribed=True, at=start, **address),
        world.event("Identify", user="ada", email=ADA, at=start + MINUTE),
        world.event("Product Added", user="ada", product=product("tea"), at=start + 2 * MINUTE),
    ]
    for index in order:
        world.record(events[index])
    world.record(world.event("Order Completed", user="bob", email=ADA, order_id="1", at=start))
    world.run(world.now + HOUR)
    assert world.outcomes("ada") == [("abandoned_cart", "suppressed")]
    # Transactional mail leaves.
    assert world.mails() == [("order_confirmation", ADA)]


def test_false_lifts_no_unsubscribe(world: World) -> None:
    world.record(world.event("Unsubscribed", email=ADA))
    world.now += MINUTE
    world.record(world.event("Identify", user="ada", email=ADA, unsubscribed=False))
    world.record(world.event("Product Added", user="ada", product=product("tea")))
    world.run(world.now + HOUR)
    assert world.mails() == []


def test_a_newer_opt_in_takes_it_back(world: World) -> None:
    world.record(world.event("Identify", user="ada", email=ADA, unsubscribed=True))
    world.now += MINUTE
    world.record(world.event("Subscribed", user="ada", email=ADA))
    world.record(world.event("Product Added", user="ada", product=product("tea")))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_page_cannot_opt_others_out(world: World) -> None:
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("tea")))
    page = world.event("Identify", user="ada", anon="eve", email=ADA, unsubscribed=True)
    world.record(page, trusted=False)
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]
