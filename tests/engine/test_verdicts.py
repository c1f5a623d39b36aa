"""One event, one verdict: what it does to the person, the order, the address and the sends happens whole or not at all.

Each was an experiment that broke an earlier engine.
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from redis import Redis

from catalog import EVENTS
from freshgate.declare import EventType
from freshgate.errors import EspError
from freshgate.events import Event
from freshgate.state import keys
from tests.engine.world import HOUR, MINUTE, SECOND, START, World, product

ADA = "ada@example.com"
BEN = "ben@example.com"
CARL = "carl@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def opt_out(world: World, user: str) -> Event:
    return world.event("Unsubscribed", user=user)


def test_what_a_device_of_two_users_orders_alone_is_mailed_to_neither(world: World) -> None:
    world.record(world.event("Identify", user="ada", anon="device", email=ADA))
    world.record(world.event("Identify", user="ben", anon="device", email=BEN))
    assert world.record(world.event("Order Completed", anon="device", email=BEN, order_id="1")).ignored == 1
    world.run(world.now + HOUR)
    assert world.mails() == []
    assert not world.client.exists(keys.order("main", keys.order_id("main", "1")))
    # Their server says whose it is.
    world.record(world.event("Order Completed", user="ben", order_id="1"))
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", BEN)]


def shared_device(world: World) -> list[Event]:
    return [
        world.event("Identify", at=START, user="ada", anon="device", email=ADA),
        world.event("Identify", at=START + SECOND, user="ben", anon="device", email=BEN),
    ]


@pytest.mark.parametrize("links_first", [True, False])
@pytest.mark.parametrize("name", ["Unsubscribed", "Email Bounced", "Email Marked as Spam"])
def test_a_refusal_by_address_holds_though_a_shared_device_told_it(world: World, name: str, links_first: bool) -> None:
    refusal = world.event(name, at=START + MINUTE, anon="device", email=CARL)
    cart = world.event("Product Added", at=START, user="carl", email=CARL, product=product("a"))
    world.now += MINUTE
    events = [*shared_device(world), refusal] if links_first else [refusal, *shared_device(world)]
    for event in (cart, *events):
        world.record(event)
    world.run(world.now + HOUR)
    assert world.mails() == []
    assert world.outcomes("carl") == [("abandoned_cart", "suppressed")]


def test_an_opt_in_that_a_shared_device_tells_lifts_nothing(redis: Redis) -> None:
    world = World(redis, events=(*EVENTS, EventType(name="Subscribed", lifts="unsubscribed")))
    world.record(*shared_device(world), world.event("Unsubscribed", at=START, user="carl", email=CARL))
    world.now += MINUTE
    assert world.record(world.event("Subscribed", anon="device", email=CARL)).ignored == 1
    world.record(world.event("Product Added", user="carl", email=CARL, product=product("a")))
    world.run(world.now + HOUR)
    assert world.mails() == []


@pytest.mark.parametrize("links_first", [True, False])
@pytest.mark.parametrize("order_id", ["1", None])
def test_a_purchase_by_address_stops_the_cart_mail_though_a_shared_device_told_it(
    world: World, order_id: str | None, links_first: bool
) -> None:
    cart = world.event("Product Added", at=START, user="carl", email=CARL, product=product("a"))
    world.now += MINUTE
    fields: dict[str, Any] = {"order_id": order_id} if order_id else {}
    order = world.event("Order Completed", anon="device", email=CARL, products=(product("a"),), **fields)
    events = [*shared_device(world), order] if links_first else [order, *shared_device(world)]
    for event in (cart, *events):
        world.record(event)
    world.run(world.now + HOUR)
    assert world.mails() == []
    assert world.outcomes("carl") == [("abandoned_cart", "cancelled")]


def test_an_order_that_a_shared_device_tells_again_empties_no_cart_that_was_filled_since(world: World) -> None:
    world.record(*shared_device(world))
    order: dict[str, Any] = {"email": CARL, "order_id": "1", "products": (product("a"),)}
    world.now += MINUTE
    world.record(world.event("Order Completed", user="carl", **order))
    world.now += HOUR
    world.record(world.event("Product Added", user="carl", product=product("b")))
    world.now += MINUTE
    world.record(world.event("Order Completed", anon="device", **order))
    assert world.cart("carl") == {"b": 1}
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", CARL), ("abandoned_cart", CARL)]


@pytest.mark.parametrize("name", ["Order Cancelled", "Order Refunded"])
def test_what_a_shared_device_withdraws_by_the_orders_id_is_not_confirmed(world: World, name: str) -> None:
    world.record(*shared_device(world))
    world.now += MINUTE
    world.esp.errors = [EspError("503", status=503)]
    world.record(world.event("Order Completed", user="carl", email=CARL, order_id="1"))
    world.run()
    assert world.record(world.event(name, anon="device", order_id="1")).ignored == 1
    world.run(world.now + HOUR)
    assert world.mails() == []
    assert world.outcomes("carl")[-1] == ("order_confirmation", "superseded")


def test_an_erased_persons_late_order_is_not_mailed(world: World) -> None:
    late = world.event("Order Completed", user="ada", email=ADA, order_id="1")
    world.now += MINUTE
    world.record(world.event("Delete", user="ada"))
    assert world.record(late).ignored == 1
    world.run(world.now + HOUR)
    assert world.mails() == []
    assert not world.client.exists(keys.order("main", keys.order_id("main", "1")))


def test_another_event_under_a_used_message_id_is_not_a_duplicate(world: World) -> None:
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("a")))
    reply = world.record(
        world.event("Identify", user="ada", email=ADA, message_id="same"),
        world.event("Order Completed", user="ada", email=ADA, order_id="1", message_id="same"),
        world.event("Order Completed", user="ada", email=ADA, order_id="2", message_id="same"),
    )
    assert (reply.accepted, reply.duplicate) == (3, 0)
    world.run(world.now + HOUR)
    assert sorted(world.mails()) == [("order_confirmation", ADA)] * 2


def test_the_same_event_told_again_is_a_duplicate_in_all_its_parts(world: World) -> None:
    order = world.event("Order Completed", user="ada", anon="device", email=ADA, order_id="1")
    world.record(order)
    before = world.client.hgetall(keys.order("main", keys.order_id("main", "1")))
    assert world.record(order).duplicate == 1
    assert world.client.hgetall(keys.order("main", keys.order_id("main", "1"))) == before
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA)]


def test_message_ids_are_told_apart_by_64_bits() -> None:
    ids = {keys.dedupe_id("segment", str(number)) for number in range(50_000)}
    assert len(ids) == 50_000
    assert all(-(2**63) <= int(text) < 2**63 for text in ids)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_an_opt_out_without_an_address_holds_for_the_address_in_any_order(world: World, order: tuple[int, ...]) -> None:
    events = [
        opt_out(world, "ada"),
        world.event("Identify", user="ada", email=ADA),
        # The same address, under another id of the same shopper.
        world.event("Product Added", user="ada-2", email=ADA, product=product("a")),
    ]
    for index in order:
        world.record(events[index])
    world.run(world.now + HOUR)
    assert world.mails() == []
    assert world.outcomes("ada-2") == [("abandoned_cart", "suppressed")]


def test_an_opt_out_is_not_lost_when_the_receiver_dies_right_after_its_one_trip(world: World) -> None:
    world.record(world.event("Identify", user="ada", email=ADA))
    plan = world.planner.plan(opt_out(world, "ada"))
    world.receiver.recorder._commit("main", [plan])
    world.record(world.event("Product Added", user="ada-2", email=ADA, product=product("a")))
    world.run(world.now + HOUR)
    assert world.mails() == []


def test_an_opt_out_of_a_user_id_that_is_an_address_holds_for_the_address(world: World) -> None:
    world.record(opt_out(world, ADA))
    world.record(world.event("Product Added", user="u-1", email=ADA, product=product("a")))
    world.run(world.now + HOUR)
    assert world.mails() == []


def test_an_opt_out_told_by_a_device_holds_for_the_user_that_it_turns_out_to_be(world: World) -> None:
    world.record(world.event("Unsubscribed", anon="device"))
    world.record(world.event("Identify", user="ada", email=ADA))
    world.record(world.event("Page", user="ada", anon="device"))
    world.record(world.event("Product Added", user="ada-2", email=ADA, product=product("a")))
    world.run(world.now + HOUR)
    assert world.mails() == []


def test_an_opt_out_outlives_the_person_who_told_it(world: World) -> None:
    world.record(world.event("Identify", user="ada", email=ADA))
    world.record(opt_out(world, "ada"))
    world.client.delete(keys.person("main", keys.person_id("main", "ada", None)))
    address = keys.address("main", keys.address_id(world.planner.pii_key, ADA))
    assert world.client.pttl(address) == -1
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("a")))
    world.run(world.now + HOUR)
    assert world.mails() == []


def test_an_opt_in_brings_an_address_that_is_the_persons_own(world: World) -> None:
    world.record(world.event("Product Added", user="ada", product=product("a")))
    world.record(world.event("Subscribed", user="ada", email=ADA))
    assert world.person("ada").email == ADA
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_an_opt_in_of_an_address_alone_lifts_an_older_opt_out(world: World) -> None:
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("a")))
    world.record(world.event("Unsubscribed", email=ADA))
    world.now += MINUTE
    world.record(world.event("Subscribed", email=ADA))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_what_a_customer_typed_into_a_form_is_the_address_only_where_no_other_is_known(world: World) -> None:
    world.record(world.event("Product Added", user="ada", product=product("a"), contact_email=BEN))
    world.record(world.event("Product Added", user="cleo", product=product("a"), contact_email=BEN))
    # Older, and yet it counts.
    world.record(world.event("Identify", user="ada", at=world.now - MINUTE, email=ADA))
    world.run(world.now + HOUR)
    assert sorted(world.mails()) == [("abandoned_cart", ADA), ("abandoned_cart", BEN)]


def test_an_address_from_a_form_releases_what_waits_for_one(world: World) -> None:
    world.record(world.event("Product Added", user="ada", product=product("a")))
    world.run(world.now + HOUR)
    assert world.mails() == []
    world.record(world.event("Product Added", user="ada", product=product("b"), contact_email=ADA))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_an_opt_out_without_an_address_holds_for_the_address_in_a_form(world: World) -> None:
    world.record(world.event("Unsubscribed", user="ada"))
    world.record(world.event("Product Added", user="ada", product=product("a"), contact_email=ADA))
    world.run(world.now + HOUR)
    # The person's own opt-out holds for the address in the form, too.
    assert world.mails() == []


@pytest.mark.parametrize("user", ["auth0|ada@example.com", "ada@localhost", "ada@office"])
def test_an_id_with_an_at_that_is_not_an_address_is_mailed_nothing(world: World, user: str) -> None:
    world.record(world.event("Product Added", user=user, product=product("a")))
    assert world.person(user).email is None
    world.run(world.now + HOUR)
    assert world.mails() == []
