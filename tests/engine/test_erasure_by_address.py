"""A Delete that names an address only: whoever is known by it is erased, and what the address itself knows."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from freshgate.state import keys
from tests.engine.world import HOUR, MINUTE, PII_KEY, World, product

ADA = "ada@example.com"
BEN = "ben@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def known(world: World, address: str) -> set[bytes]:
    """The fields of the address's record."""
    fields: Any = world.client.hkeys(keys.address("main", keys.address_id(PII_KEY, address)))
    return set(fields)


def test_who_is_known_by_the_address_is_erased_under_all_ids(world: World) -> None:
    world.record(world.event("Product Added", anon="device", product=product("a")))
    world.record(world.event("Identify", user="ada", anon="device", email=ADA, first_name="Ada"))
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.now += MINUTE
    world.record(world.event("Product Added", user="ada", product=product("b")))
    assert world.record(world.event("Delete", email=ADA.upper())).accepted == 1
    assert world.state("ada") == {}
    assert (world.person("ada").email, world.cart("ada")) == (None, {})
    assert not known(world, ADA) & {b"m:who", b"m:order"}
    world.run(world.now + HOUR)
    assert world.mails() == []


def test_an_address_without_an_id_is_erased_too(world: World) -> None:
    world.record(world.event("Product Added", email=ADA, product=product("a")))
    world.now += MINUTE
    world.record(world.event("Delete", email=ADA))
    assert world.client.keys("*:ev") == []
    world.run(world.now + HOUR)
    assert world.mails() == []


def test_other_persons_and_what_happens_later_stay(world: World) -> None:
    world.record(world.event("Product Added", user="ben", email=BEN, product=product("a")))
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("a")))
    world.now += MINUTE
    world.record(world.event("Delete", email=ADA))
    world.now += MINUTE
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("b")))
    world.run(world.now + HOUR)
    assert sorted(world.mails()) == [("abandoned_cart", ADA), ("abandoned_cart", BEN)]
    assert world.cart("ada") == {product("b").line: 1}


def test_an_older_erasure_that_arrives_late_leaves_what_happened_since(world: World) -> None:
    erased_at = world.now
    world.now += MINUTE
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("a")))
    world.record(world.event("Delete", at=erased_at, email=ADA))
    assert b"m:who" in known(world, ADA)
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_an_opt_out_of_the_address_outlives_its_erasure(world: World) -> None:
    world.record(world.event("Unsubscribed", user="ada", email=ADA))
    world.now += MINUTE
    world.record(world.event("Delete", email=ADA))
    world.now += MINUTE
    world.record(world.event("Product Added", user="eve", email=ADA, product=product("a")))
    world.run(world.now + HOUR)
    assert world.mails() == []
