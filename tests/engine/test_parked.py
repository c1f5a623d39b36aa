"""Sends that wait for an address: every kind of address releases them, and each ends once."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from freshgate.state import keys
from freshgate.state.stamps import stamp
from tests.engine.world import HOUR, MINUTE, PII_KEY, SECOND, World, product

ADA = "ada@example.com"
BEN = "ben@example.com"


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


def order_of_two_tellers(world: World) -> None:
    """A visitor and a customer tell it, and nobody knows an address."""
    world.record(world.event("Order Completed", anon="visitor", order_id="1"))
    world.record(world.event("Order Completed", at=world.now + 5, user="42", order_id="1"))


@pytest.mark.parametrize("ids", [{"user": "42"}, {"anon": "visitor"}])
def test_an_address_of_anybody_who_told_the_order_releases_its_confirmation_once(
    world: World, ids: dict[str, Any]
) -> None:
    order_of_two_tellers(world)
    world.run()
    assert world.outcomes("42") == [("order_confirmation", "parked")]
    world.now += HOUR
    world.record(world.event("Identify", email=ADA, **ids))
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]
    # Where the trail said that it waits, it says what came of it.
    assert world.outcomes("42") == [("order_confirmation", "parked"), ("order_confirmation", "sent")]
    # Another address, of the other one, brings nothing back.
    world.record(world.event("Identify", user="42", email=BEN), world.event("Identify", anon="visitor", email=BEN))
    world.run(world.now + 25 * HOUR)
    assert world.mails() == [("order_confirmation", ADA)]
    assert parked_fields(world, user="42") == parked_fields(world, anon="visitor") == []
    assert world.due_timers(world.now + 100 * HOUR) == []


def test_a_confirmation_for_which_no_address_arrives_ends_where_it_was_parked(world: World) -> None:
    order_of_two_tellers(world)
    world.run(world.now + 25 * HOUR)
    assert world.outcomes("42") == [("order_confirmation", "parked"), ("order_confirmation", "no_address")]
    assert parked_fields(world, user="42") == parked_fields(world, anon="visitor") == []
    world.record(world.event("Identify", user="42", email=ADA))
    world.run(world.now + HOUR)
    assert (world.mails(), len(world.outcomes("42"))) == ([], 2)


@pytest.mark.parametrize("ids", [{"user": "42"}, {"anon": "visitor"}])
def test_an_address_of_any_teller_that_comes_while_the_send_is_parked_is_not_missed(
    world: World, ids: dict[str, Any]
) -> None:
    order_of_two_tellers(world)
    ((timer, _),) = world.due_timers(world.now + MINUTE)
    identify = world.event("Identify", email=ADA, **ids)
    world.deliver(timer, courier=world.interrupted_courier(lambda: world.record(identify)))
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]


def test_the_confirmation_goes_to_the_teller_whose_user_id_is_an_address(world: World) -> None:
    world.record(world.event("Order Completed", user="42", order_id="1"))
    world.record(world.event("Order Completed", at=world.now + 5, user=ADA, order_id="1"))
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]


def test_two_tellers_whose_addresses_are_nobodys_are_parked_once(world: World, redis: Redis) -> None:
    world.record(
        world.event("Page", user="42", anon="device"),
        world.event("Page", at=world.now + SECOND, user="43", anon="device"),
        world.event("Identify", at=world.now + MINUTE, anon="device", email=ADA),
    )
    # As it is left by an address that was told before the second user was known.
    redis.hset(
        keys.person("main", keys.person_id("main", None, "device")),
        "A:email",
        stamp(world.now + MINUTE, "m") + keys.address_id(PII_KEY, ADA),
    )
    world.now += 2 * MINUTE
    world.record(
        world.event("Order Completed", user="44", order_id="1"),
        world.event("Order Completed", at=world.now + 5, user="42", order_id="1"),
    )
    world.run(world.now + MINUTE)
    assert world.outcomes("44") == [("order_confirmation", "parked")]
    assert world.outcomes("42") == []


def parked_fields(world: World, **ids: Any) -> list[bytes]:
    fields: Any = world.client.hkeys(keys.person("main", world.root(**ids)))
    return [field for field in fields if field.startswith(b"k:")]


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
