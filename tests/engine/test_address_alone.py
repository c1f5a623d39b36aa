"""Purchases that name an address and no id: a till, an order by phone, a CDP that only knows the address."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.engine.world import HOUR, MINUTE, World, product

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def test_an_order_of_an_address_alone_is_confirmed_once(world: World) -> None:
    for _ in range(2):
        world.record(world.event("Order Completed", email=ADA, order_id="1", products=(product("tea"),)))
        world.run()
    assert world.mails() == [("order_confirmation", ADA)]


def test_it_stops_the_cart_mail_of_whoever_has_the_address(world: World) -> None:
    world.record(world.event("Product Added", anon="x", email=ADA, product=product("tea")))
    world.now += MINUTE
    world.record(world.event("Order Completed", email=ADA.upper(), order_id="1"))
    world.run(world.now + HOUR)
    assert [trigger for trigger, _ in world.mails()] == ["order_confirmation"]
    assert world.outcomes(anon="x") == [("abandoned_cart", "cancelled")]


def test_a_user_who_tells_the_same_order_is_not_mailed_again(world: World) -> None:
    world.record(world.event("Order Completed", email=ADA, order_id="1"))
    world.run()
    world.now += MINUTE
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA)]


def test_an_order_under_an_address_as_user_id_counts_for_the_address(world: World) -> None:
    world.record(world.event("Product Added", anon="x", email=ADA, product=product("tea")))
    world.now += MINUTE
    world.record(world.event("Order Completed", user=ADA, order_id="1"))
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA)]
    assert world.outcomes(anon="x") == [("abandoned_cart", "cancelled")]


def test_a_page_says_nothing_of_the_address_that_its_user_id_is(world: World) -> None:
    world.record(world.event("Product Added", anon="x", email=ADA, product=product("tea")))
    world.now += MINUTE
    world.record(world.event("Order Completed", user=ADA, anon="eve", order_id="1"), trusted=False)
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]
