"""A Delete that names an address only: whoever is known by it is erased, and what the address itself knows."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from redis import Redis

from freshgate.state import keys
from tests.engine.world import HOUR, MINUTE, PII_KEY, SECOND, START, World, product

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
    assert not {name for name in known(world, ADA) if name[:2] == b"h:" or name == b"m:order"}
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
    assert b"h:" + keys.person_id("main", "ada").encode() in known(world, ADA)
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


@pytest.mark.parametrize("arrival", list(permutations(range(3))))
@pytest.mark.parametrize("by_address", [True, False])
def test_what_another_id_did_before_is_not_mailed_to_the_address_in_any_order(
    world: World, by_address: bool, arrival: tuple[int, ...]
) -> None:
    events = [
        world.event("Product Added", at=START, anon="phone", email=ADA, product=product("a")),
        world.event("Identify", at=START + 1, user="ada", email=ADA),
        world.event("Delete", at=START + MINUTE, **({"email": ADA} if by_address else {"user": "ada"})),
    ]
    world.now += MINUTE
    for index in arrival:
        world.record(events[index])
    world.run(world.now + HOUR)
    assert world.mails() == []
    assert world.outcomes(anon="phone")[-1:] in ([("abandoned_cart", "suppressed")], [])
    # What the same shopper does from then on is mailed about.
    world.record(world.event("Product Added", anon="phone", email=ADA, product=product("b")))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


@pytest.mark.parametrize(("after", "mails"), [(0, 0), (1, 1)])
def test_the_erasure_of_an_address_ends_at_its_very_moment(world: World, after: int, mails: int) -> None:
    world.record(
        world.event("Product Added", at=START + after, anon="phone", email=ADA, product=product("a")),
        world.event("Identify", at=START - 1, user="ada", email=ADA),
        world.event("Delete", at=START, user="ada"),
    )
    world.run(world.now + HOUR)
    assert len(world.mails()) == mails


def test_an_erasure_of_another_id_between_reading_and_claiming_stops_the_mail(world: World) -> None:
    world.record(
        world.event("Identify", at=START, user="ada", email=ADA),
        world.event("Product Added", at=START, anon="phone", email=ADA, product=product("a")),
        # Who has the address by now says so after the erasure.
        world.event("Page", at=START + MINUTE, anon="phone", email=ADA),
    )
    world.now += 31 * MINUTE
    erasure = world.event("Delete", at=START + SECOND, user="ada")
    world.courier = world.interrupted_courier(lambda: world.record(erasure))
    world.run()
    assert world.mails() == []


def test_a_mail_that_left_before_the_erasure_is_not_counted_as_wrong(world: World) -> None:
    world.record(
        world.event("Product Added", user="ben", email=ADA, product=product("a")),
        world.event("Identify", at=START + 1, user="ada", email=ADA),
    )
    world.run(world.now + HOUR)
    world.record(world.event("Delete", email=ADA), world.event("Page", at=START, user="ben"))
    world.run(world.now + HOUR)
    assert world.outcomes("ben") == [("abandoned_cart", "sent")]


def test_an_older_erasure_that_arrives_later_does_not_shorten_the_newer_one(world: World) -> None:
    world.record(
        world.event("Product Added", at=START + SECOND, anon="phone", email=ADA, product=product("a")),
        world.event("Identify", at=START + SECOND + 1, user="ada", email=ADA),
        world.event("Delete", at=START + 2 * SECOND, email=ADA),
        world.event("Delete", at=START, email=ADA),
    )
    world.run(world.now + HOUR)
    assert world.mails() == []


def test_an_address_as_user_id_erases_whoever_is_known_by_it(world: World) -> None:
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("a")))
    world.now += MINUTE
    assert world.record(world.event("Delete", user=ADA)).accepted == 1
    assert world.state("ada") == {}
    world.run(world.now + HOUR)
    assert world.mails() == []
