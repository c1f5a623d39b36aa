"""Orders: the first telling, by occurrence, is the purchase; what is told later adds what was missing.

Whatever order the tellings arrive in, and whoever tells.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from redis import Redis

from freshgate.events import Event
from freshgate.state import keys
from tests.engine.world import HOUR, MINUTE, SECOND, START, World, product

ADA = "ada@example.com"
BEN = "ben@example.com"
DAY = 24 * HOUR


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def order(world: World, after: int = 0, user: str | None = "ada", **fields: Any) -> Event:
    """An order of product "a" that occurred `after` (ms) the start."""
    fields = {"order_id": "1", "products": (product("a"),)} | fields
    return world.event("Order Completed", at=START + after, user=user, **fields)


def order_record(world: World, order_id: str = "1") -> str:
    return keys.order("main", keys.order_id("main", order_id))


def carts_mailed(world: World) -> int:
    return sum(trigger == "abandoned_cart" for trigger, _ in world.mails())


@pytest.mark.parametrize("later", [2 * MINUTE, 50 * MINUTE, 5 * HOUR])
@pytest.mark.parametrize("products", [(product("a"),), (product("a"), product("new")), ()])
def test_an_order_told_again_does_not_empty_the_cart_that_was_filled_since(
    world: World, later: int, products: tuple[Any, ...]
) -> None:
    world.record(world.event("Identify", user="ada", email=ADA), order(world))
    world.run()
    world.now += later
    world.record(
        world.event("Product Added", at=START + later - SECOND, user="ada", product=product("fresh")),
        order(world, later, products=products),
    )
    assert world.cart("ada") == {"fresh": 1}
    world.run(world.now + HOUR)
    assert sorted(world.mails()) == [("abandoned_cart", ADA), ("order_confirmation", ADA)]


@pytest.mark.parametrize("arrival", list(permutations(range(3))))
@pytest.mark.parametrize("second_user", ["ada", "crm-17"])
def test_in_whatever_order_two_tellings_and_a_new_cart_arrive_the_cart_stays(
    world: World, arrival: tuple[int, ...], second_user: str
) -> None:
    world.record(world.event("Identify", user="ada", email=ADA), world.event("Identify", user="crm-17", email=ADA))
    events = [
        order(world),
        world.event("Product Added", at=START + 20 * MINUTE, user=second_user, product=product("fresh")),
        order(world, 40 * MINUTE, user=second_user),
    ]
    world.now += 41 * MINUTE
    for index in arrival:
        world.record(events[index])
    assert world.cart(second_user) == {"fresh": 1}
    world.run(world.now + HOUR)
    assert carts_mailed(world) == 1


@pytest.mark.parametrize("page_first", [True, False])
def test_a_thank_you_page_that_tells_a_known_order_is_no_new_purchase(world: World, page_first: bool) -> None:
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    page = world.event("Order Completed", at=START + HOUR, user="ada", anon="x", order_id="1", products=(product("a"),))
    tellings = [(order(world), True), (page, False)]
    world.now += HOUR
    world.record(world.event("Product Added", at=START + 50 * MINUTE, user="ada", product=product("fresh")))
    for event, trusted in reversed(tellings) if page_first else tellings:
        world.record(event, trusted=trusted)
    assert world.cart("ada") == {"fresh": 1}


def test_a_page_that_tells_the_order_before_the_server_empties_the_cart_and_confirms_nothing(world: World) -> None:
    world.record(world.event("Product Added", user="ada", anon="x", email=ADA, product=product("a")))
    page = world.event("Order Completed", at=START + MINUTE, user="ada", anon="x", order_id="1", products=())
    world.record(page, trusted=False)
    world.run(world.now + MINUTE)
    assert (world.mails(), world.cart("ada")) == ([], {})
    world.record(order(world, 2 * MINUTE))
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA)]


@pytest.mark.parametrize("arrival", list(permutations(range(3))))
def test_the_address_of_the_first_telling_that_has_one_is_the_orders(world: World, arrival: tuple[int, ...]) -> None:
    events = [
        order(world),
        order(world, SECOND, order_email=ADA),
        order(world, 2 * SECOND, order_email=BEN),
    ]
    for index in arrival:
        world.record(events[index])
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]


def test_an_order_told_by_two_cdps_of_which_the_newer_has_no_address_is_confirmed(world: World) -> None:
    world.record(
        order(world, user="42", order_email=ADA),
        world.event("Order Completed", at=START + 5, anon="visitor", order_id="1", products=(product("a"),)),
    )
    world.run(world.now + 25 * HOUR)
    assert world.mails() == [("order_confirmation", ADA)]


@pytest.mark.parametrize("arrival", [(0, 1), (1, 0)])
@pytest.mark.parametrize("earlier", [5, -5])
def test_an_order_that_a_visitor_without_an_address_tells_too_goes_to_the_customer(
    world: World, earlier: int, arrival: tuple[int, int]
) -> None:
    world.record(world.event("Identify", user="42", email=ADA))
    visitor: dict[str, Any] = {"anon": "visitor", "order_id": "1", "products": (product("a"),)}
    tellings = [order(world, user="42"), world.event("Order Completed", at=START - earlier, **visitor)]
    for index in arrival:
        world.record(tellings[index])
    world.run(world.now + 25 * HOUR)
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_customer_whose_id_is_an_address_has_one(world: World) -> None:
    visitor: dict[str, Any] = {"anon": "visitor", "order_id": "1", "products": (product("a"),)}
    world.record(world.event("Order Completed", at=START - MINUTE, **visitor), order(world, user=ADA))
    world.run(world.now + 25 * HOUR)
    assert world.mails() == [("order_confirmation", ADA)]


def test_an_order_with_an_address_of_its_own_is_the_first_tellers(world: World) -> None:
    world.record(world.event("Identify", user="ada", email=ADA))
    visitor: dict[str, Any] = {"anon": "visitor", "order_id": "1", "products": (product("a"),), "order_email": BEN}
    world.record(world.event("Order Completed", at=START - MINUTE, **visitor), order(world))
    world.run()
    assert world.mails() == [("order_confirmation", BEN)]
    assert world.outcomes(anon="visitor") == [("order_confirmation", "sent")]
    assert world.outcomes("ada") == []


def test_an_address_that_a_later_telling_brings_releases_the_confirmation(world: World) -> None:
    world.record(order(world))
    world.run()
    assert world.outcomes("ada") == [("order_confirmation", "parked")]
    world.record(order(world, MINUTE, order_email=ADA))
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]


@pytest.mark.parametrize("arrival", [(0, 1), (1, 0)])
def test_who_told_the_order_first_is_its_buyer(world: World, arrival: tuple[int, int]) -> None:
    world.record(world.event("Identify", user="ada", email=ADA), world.event("Identify", user="ben", email=BEN))
    events = [order(world), order(world, MINUTE, user="ben")]
    for index in arrival:
        world.record(events[index])
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]


@pytest.mark.parametrize("days", [1, 31, 100])
def test_an_order_told_again_after_weeks_is_not_confirmed_again(world: World, redis: Redis, days: int) -> None:
    world.record(order(world, email=ADA))
    world.run()
    if days > 30:
        redis.delete(order_record(world))
    world.now += days * DAY
    world.record(order(world, days * DAY, email=ADA))
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA)]


def test_that_an_order_was_completed_is_remembered_for_400_days_in_few_bytes(world: World, redis: Redis) -> None:
    world.record(order(world))
    (once,) = redis.scan_iter("fg:{main}:once:*")
    assert 399 * DAY < int(redis.pttl(once)) <= 400 * DAY
    assert int(redis.memory_usage(once) or 0) < 160


@pytest.mark.parametrize("count", [100, 101, 250])
def test_a_thank_you_page_of_a_large_order_is_no_new_cart(world: World, count: int) -> None:
    lines = tuple(product(f"p{number}") for number in range(count))
    world.record(world.event("Identify", user="ada", email=ADA), order(world, products=lines))
    world.record(world.event("Cart Viewed", at=START + 5 * SECOND, user="ada", products=lines))
    world.run(world.now + 2 * HOUR)
    assert carts_mailed(world) == 0


def test_a_thank_you_page_of_a_purchase_told_as_two_orders_is_no_new_cart(world: World) -> None:
    world.record(
        world.event("Identify", user="ada", email=ADA),
        order(world),
        order(world, order_id="2", products=(product("b"),)),
        world.event("Cart Viewed", at=START + 5 * SECOND, user="ada", products=(product("a"), product("b"))),
    )
    world.run(world.now + 2 * HOUR)
    assert carts_mailed(world) == 0


def test_a_purchase_that_has_an_address_alone_stops_the_mail_about_the_cart(world: World) -> None:
    world.record(world.event("Product Added", anon="x", email=ADA, product=product("a")))
    reply = world.record(order(world, MINUTE, user=None, email=ADA))
    assert reply.accepted == 1
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_cancellation_that_arrives_before_the_order_withdraws_its_confirmation(world: World) -> None:
    world.record(world.event("Order Cancelled", at=START + MINUTE, user="ada", order_id="1"))
    world.record(order(world, email=ADA))
    world.run()
    assert world.outcomes("ada") == [("order_confirmation", "superseded")]


def test_the_purchases_that_a_person_is_remembered_for_are_bounded(world: World, redis: Redis) -> None:
    for number in range(120):
        world.record(order(world, number * MINUTE, order_id=str(number)))
    assert len(world.person("ada").purchases) == 50
    assert world.person("ada").purchases[0].at == START + 119 * MINUTE
    lines = tuple(product(f"a-rather-long-product-id-{number:08d}") for number in range(250))
    for number in range(200, 210):
        world.record(order(world, number * MINUTE, order_id=str(number), products=lines))
    stored: Any = redis.hget(keys.person("main", keys.person_id("main", "ada")), "O")
    assert len(stored) < 32_768
    assert world.person("ada").purchases[0].at == START + 209 * MINUTE


def test_an_order_told_by_its_number_and_by_its_name_is_confirmed_once(world: World) -> None:
    world.record(order(world, email=ADA, order_id="1001"), order(world, SECOND, email=ADA, order_id="#1001"))
    world.record(world.event("Order Completed", user="ben", email=BEN, order_id="#"))
    world.run()
    assert sorted(world.mails()) == [("order_confirmation", ADA), ("order_confirmation", BEN)]
    assert world.esp.mails[0].template_data["order_id"] == "1001"
