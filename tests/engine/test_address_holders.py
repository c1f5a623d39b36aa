"""Orders of others who have the address, told without it: a customer whom one event named, then ids alone."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from redis import Redis

from freshgate.events import Event
from freshgate.state import keys
from freshgate.state.store import fcall
from tests.engine.world import HOUR, MINUTE, PII_KEY, SECOND, SHOP, World, product

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def holders(world: World) -> set[str]:
    """The ids that the address remembers."""
    fields: Any = world.client.hkeys(keys.address("main", keys.address_id(PII_KEY, ADA)))
    return {field.decode().removeprefix("h:") for field in fields if field.startswith(b"h:")}


def story(world: World) -> list[Event]:
    """A visitor types an address; the customer who has it buys, which the shop's server tells by number only."""
    start = world.now
    world.now += 3 * MINUTE
    return [
        world.event("Identify", user="ada", email=ADA, at=start),
        world.event("Product Added", anon="x", email=ADA.upper(), product=product("tea"), at=start + MINUTE),
        world.event("Order Completed", user="ada", order_id="1", at=start + 2 * MINUTE),
    ]


def cart_outcomes(world: World) -> list[tuple[str, str]]:
    world.run(world.now + 2 * HOUR)
    return world.outcomes(anon="x")


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_the_cart_mail_is_withheld_whatever_arrives_first(world: World, order: tuple[int, ...]) -> None:
    events = story(world)
    for index in order:
        world.record(events[index])
    assert cart_outcomes(world) == [("abandoned_cart", "cancelled")]
    assert world.mails() == [("order_confirmation", ADA)]


def test_so_it_is_where_the_customer_is_known_under_another_id_by_now(world: World) -> None:
    world.record(*story(world))
    world.record(world.event("Alias", user="ada-2", previous_id="ada"))
    assert cart_outcomes(world) == [("abandoned_cart", "cancelled")]


def test_without_the_setting_two_ids_are_two_people(redis: Redis) -> None:
    world = World(redis, email_identity=False)
    world.record(*story(world))
    assert cart_outcomes(world) == [("abandoned_cart", "sent")]


def test_a_cart_filled_after_that_order_is_mailed(world: World) -> None:
    world.record(*story(world))
    world.now += HOUR
    world.record(world.event("Product Added", anon="x", email=ADA, product=product("cup")))
    world.run(world.now + 2 * HOUR)
    assert ("abandoned_cart", ADA) in world.mails()


def test_an_order_that_the_customer_had_erased_does_not_count(world: World) -> None:
    identify, added, ordered = story(world)
    world.record(identify, ordered)
    world.record(world.event("Delete", user="ada", at=ordered.occurred_at + 1))
    later = added.occurred_at + 2 * MINUTE
    world.record(world.event("Product Added", anon="x", email=ADA, product=product("tea"), at=later))
    world.run(world.now + 2 * HOUR)
    assert ("abandoned_cart", ADA) in world.mails()
    assert [holder for holder in holders(world) if holder.startswith("u")] == []


def test_what_a_device_told_of_nobody_does_not_count(world: World) -> None:
    """The device met a second user before it ordered: whose order that was, nobody knows."""
    start = world.now
    world.now += 5 * MINUTE
    world.record(world.event("Identify", user="ada", anon="d", email=ADA, at=start))
    world.record(world.event("Identify", user="ben", anon="d", at=start + MINUTE))
    world.record(world.event("Order Completed", anon="d", at=start + 3 * MINUTE))
    world.record(world.event("Product Added", anon="x", email=ADA, product=product("tea"), at=start + 2 * MINUTE))
    world.run(world.now + 2 * HOUR)
    assert ("abandoned_cart", ADA) in world.mails()


def test_an_order_between_the_reading_and_the_call_is_seen(world: World) -> None:
    identify, added, ordered = story(world)
    world.record(identify, added)
    world.now += HOUR
    (timer,) = [timer for timer, _ in world.due_timers(world.now) if timer.startswith("abandoned_cart")]
    world.deliver(timer, courier=world.interrupted_courier(lambda: world.record(ordered)))
    assert world.mails() == []
    assert world.outcomes(anon="x") == [("abandoned_cart", "cancelled")]


def test_an_address_remembers_its_newest_sixteen(world: World) -> None:
    for number in range(20):
        world.now += MINUTE
        world.record(world.event("Identify", user=f"u-{number}", email=ADA))
    assert holders(world) == {keys.person_id("main", f"u-{number}") for number in range(4, 20)}


@pytest.mark.parametrize("newest", range(3))
def test_an_address_stands_for_who_had_it_last(world: World, newest: int) -> None:
    names = ["ada", "ben", "eve"]
    for place, name in enumerate(names):
        minutes = 10 if place == newest else place
        world.record(world.event("Identify", user=name, email=ADA, at=world.now + minutes * SECOND))
    reply: Any = fcall(world.client, "person", SHOP, "", "", keys.address_id(PII_KEY, ADA))
    assert reply[1].decode() == keys.person_id("main", names[newest])


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_what_somebody_refused_holds_for_others_with_an_older_address_of_theirs(
    world: World, order: tuple[int, ...]
) -> None:
    start = world.now
    world.now += 5 * MINUTE
    events = [
        world.event("Identify", user="guest", email=ADA, at=start),
        world.event("Identify", user="guest", email="other@example.com", at=start + MINUTE),
        world.event("Unsubscribed", user="guest", at=start + 2 * MINUTE),
    ]
    for index in order:
        world.record(events[index])
    world.record(world.event("Product Added", anon="x", email=ADA, product=product("tea"), at=start + 3 * MINUTE))
    assert cart_outcomes(world) == [("abandoned_cart", "suppressed")]
    # A newer opt-in takes it back, of the person who has the address by now, too.
    world.record(world.event("Subscribed", anon="x", email=ADA))
    world.record(world.event("Product Added", anon="x", email=ADA, product=product("cup")))
    world.run(world.now + 2 * HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]
