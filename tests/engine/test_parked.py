"""Sends that wait for an address: every kind of address releases them, and each ends once."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from freshgate.state import keys
from tests.engine.world import HOUR, MINUTE, World, product

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


@pytest.mark.parametrize("linked_at_once", [True, False])
def test_a_user_id_that_is_an_address_releases_what_is_parked(world: World, linked_at_once: bool) -> None:
    world.record(world.event("Signed Up", anon="x"))
    world.run()
    if not linked_at_once:
        world.record(world.event("Page", user="42", anon="x"))
        world.now += 1
        world.record(world.event("Alias", user=ADA, previous_id="42"))
    world.record(world.event("Page", user=ADA, anon="x"))
    world.run(world.now + MINUTE)
    assert world.mails() == [("welcome", ADA)]


def test_a_user_id_with_an_at_sign_that_is_no_address_releases_nothing(world: World) -> None:
    world.record(world.event("Signed Up", user="@ada"))
    for _ in range(3):
        world.record(world.event("Page", user="@ada"))
        world.run(world.now + MINUTE)
    assert (world.mails(), world.outcomes("@ada")[-1]) == ([], ("welcome", "parked"))


def test_an_address_that_comes_after_the_end_brings_no_second_outcome(world: World, redis: Redis) -> None:
    world.record(world.event("Signed Up", user="ada"), world.event("Order Completed", user="ada", order_id="1"))
    world.run(world.now + 25 * HOUR)
    ended = world.outcomes("ada")
    assert sorted(ended)[:1] == [("order_confirmation", "no_address")]
    world.record(world.event("Identify", user="ada", email=ADA))
    world.run(world.now + HOUR)
    assert world.outcomes("ada") == ended
    fields: Any = redis.hkeys(keys.person("main", keys.person_id("main", "ada")))
    assert [field for field in fields if field.startswith(b"k:")] == []


def test_an_address_that_a_page_gives_releases_what_its_device_waits_for_where_mail_may_go_there(
    redis: Redis,
) -> None:
    world = World(redis, page_addresses=True)
    world.record(world.event("Product Added", anon="x", product=product("a")), trusted=False)
    world.run(world.now + HOUR)
    assert world.outcomes(anon="x") == [("abandoned_cart", "parked")]
    world.record(world.event("Identify", anon="x", email=ADA), trusted=False)
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_parked_timer_that_is_leased_when_the_address_comes_is_not_lost(world: World, redis: Redis) -> None:
    world.record(world.event("Signed Up", user="ada"))
    world.run()
    ((timer, due),) = world.due_timers(world.now + 100 * HOUR)
    # Leased at its end, by a timers process; none of the trigger's timers is left in the set.
    redis.zrem(keys.timers("main", "welcome"), timer)
    redis.srem("fg:{main}:triggers", "welcome")
    redis.hset("fg:{main}:leased", timer, str(due))
    redis.zadd("fg:{main}:leases", {timer: due + 30_000})
    world.record(world.event("Identify", user="ada", email=ADA))
    assert redis.sismember("fg:{main}:triggers", "welcome")
    world.run(world.now + MINUTE)
    assert world.mails() == [("welcome", ADA)]
