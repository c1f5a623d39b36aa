"""Devices: whose they are does not depend on what arrived first, and what waits for them is mailed to the right one."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from redis import Redis

from freshgate.errors import EspError
from freshgate.events import Event
from freshgate.state import keys
from tests.engine.world import HOUR, MINUTE, SECOND, START, World, product
from workers.esp.base import Message

ADA = "ada@example.com"
BEN = "ben@example.com"
CLEO = "cleo@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    world = World(redis)
    world.record(world.event("Identify", user="ada", email=ADA), world.event("Identify", user="ben", email=BEN))
    return world


def page(world: World, after: int, user: str, anon: str = "x") -> Event:
    """A server says that the device is this user's."""
    return world.event("Page", at=START + after, user=user, anon=anon)


def cart_of_device(world: World, after: int = 0, name: str = "a") -> Event:
    return world.event("Product Added", at=START + after, anon="x", product=product(name))


@pytest.mark.parametrize("arrival", list(permutations(range(3))))
def test_the_cart_of_a_shared_device_is_mailed_to_who_met_it_first(world: World, arrival: tuple[int, ...]) -> None:
    events = [cart_of_device(world), page(world, SECOND, "ada"), page(world, 2 * SECOND, "ben")]
    for index in arrival:
        world.record(events[index])
    world.run(world.now + 2 * HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_what_was_parked_for_a_device_goes_to_who_met_it_first(world: World) -> None:
    world.record(world.event("Signed Up", at=START, anon="x"))
    world.run()
    world.record(world.event("Identify", user="nobody-yet"))
    world.record(page(world, 2 * SECOND, "nobody-yet"))
    world.run(world.now + MINUTE)
    world.record(page(world, SECOND, "ada"))
    world.run(world.now + 26 * HOUR)
    assert ("welcome", ADA) in world.mails()


@pytest.mark.parametrize("arrival", list(permutations(range(4))))
def test_a_device_follows_the_name_that_it_was_linked_to(world: World, arrival: tuple[int, ...]) -> None:
    events = [
        world.event("Alias", at=START + 2 * SECOND, user="ben", previous_id="guest"),
        # Ada took the name over first; the news may come last.
        world.event("Alias", at=START + SECOND, user="ada", previous_id="guest"),
        page(world, 0, "guest"),
        cart_of_device(world, 1),
    ]
    for index in arrival:
        world.record(events[index])
    assert world.root(anon="x") == world.root("ada") != world.root("ben")
    world.run(world.now + 2 * HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_device_behind_a_device_follows_too(world: World) -> None:
    world.record(world.event("Alias", at=START, user="guest", previous_id="x"))
    world.record(world.event("Alias", at=START + 3, user="ben", previous_id="guest"))
    assert world.root(anon="x") == world.root("ben")
    world.record(world.event("Alias", at=START + 2, user="ada", previous_id="guest"))
    assert world.root(anon="x") == world.root("ada")
    assert world.record_ids("ben") == [keys.person_id("main", "ben")]


@pytest.mark.parametrize("alias_arrives", [0, 1, 2, 3])
def test_a_purchase_by_the_device_of_two_names_counts_once_they_are_one(world: World, alias_arrives: int) -> None:
    events = [
        page(world, 0, "ada"),
        page(world, 1, "ada-2"),
        world.event("Order Completed", at=START + 9, anon="x", products=(product("a"),), order_id="1"),
    ]
    events.insert(alias_arrives, world.event("Alias", at=START + 2, user="ada", previous_id="ada-2"))
    world.record(world.event("Product Added", at=START + 3, user="ada", product=product("a")))
    for event in events:
        world.record(event)
    world.run(world.now + 2 * HOUR)
    assert ("abandoned_cart", ADA) not in world.mails()


@pytest.mark.parametrize("page_first", [True, False])
def test_a_page_that_names_another_user_makes_the_device_nobodys(world: World, page_first: bool) -> None:
    claim = world.event("Product Added", at=START + SECOND, user="ben", anon="x", product=product("bens"))
    server = page(world, 0, "ada")
    world.record(world.event("Product Added", at=START, user="ada", product=product("adas")))
    for event, trusted in [(claim, False), (server, True)] if page_first else [(server, True), (claim, False)]:
        world.record(event, trusted=trusted)
    assert world.record(cart_of_device(world, 2 * SECOND)).ignored == 1
    world.run(world.now + 2 * HOUR)
    (mail,) = world.esp.mails
    assert [line["product_id"] for line in mail.template_data["products"]] == ["adas"]


def test_a_device_that_meets_a_second_user_while_its_send_is_claimed_is_mailed_once(world: World) -> None:
    world.record(page(world, 0, "ada"), cart_of_device(world, 1))
    world.now += 31 * MINUTE

    def meet(_message: Message) -> None:
        world.esp.before_send = None
        world.record(page(world, 31 * 60 * SECOND, "ben"))
        # And an earlier one still.
        world.record(page(world, -SECOND, "eve"))

    world.esp.before_send = meet
    world.run(world.now + 26 * HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_link_between_reading_and_claiming_is_seen(world: World) -> None:
    world.record(world.event("Order Completed", at=START + 5, user="ada", order_id="1", products=(product("a"),)))
    world.record(world.event("Product Added", at=START, anon="x", email="guest@example.com", product=product("a")))
    world.now += 31 * MINUTE
    world.courier = world.interrupted_courier(lambda: world.record(page(world, 1, "ada")))
    world.run(world.now + HOUR)
    assert [mail for mail in world.mails() if mail[0] == "abandoned_cart"] == []


@pytest.mark.parametrize("state", ["waiting", "leased", "retried", "held", "returned"])
def test_a_timer_in_any_state_goes_on_under_the_new_name(world: World, redis: Redis, state: str) -> None:
    world.record(world.event("Signed Up", anon="x", email=ADA))
    ((timer, due),) = world.due_timers(world.now + HOUR)
    if state == "leased":
        redis.zrem(keys.timers("main", "welcome"), timer)
        redis.hset("fg:{main}:leased", timer, str(due))
        redis.zadd("fg:{main}:leases", {timer: due + 30_000})
    elif state == "retried":
        world.esp.errors = [EspError("503", retry_after_s=600)]
        world.deliver(timer)
    elif state == "held":
        redis.sadd(keys.HOLD, "*")
        world.deliver(timer)
        redis.delete(keys.HOLD)
    elif state == "returned":
        redis.hset("fg:{main}:begun", timer, "1")
    world.record(page(world, 1, "ada"))
    world.run(world.now + 2 * HOUR)
    assert world.mails() == [("welcome", ADA)]
    assert world.due_timers(world.now + 100 * HOUR) == []
    assert not redis.hgetall("fg:{main}:begun")


def test_a_device_of_twenty_users_is_the_firsts_and_stays_small(world: World, redis: Redis) -> None:
    world.record(page(world, 0, "ada"), cart_of_device(world, 1))
    for number in range(20):
        world.record(page(world, 10 + number, f"u{number}"))
    record: Any = redis.hgetall(keys.person("main", keys.person_id("main", None, "x")))
    assert sum(field.startswith(b"L:") for field in record) == 16
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_opposite_aliases_and_circles_keep_one_person_with_everything(world: World) -> None:
    names = ["a", "b", "c", "d"]
    for name in names:
        world.record(world.event("Product Added", user=name, product=product(f"of-{name}")))
    for name, other in [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"), ("a", "c"), ("d", "b")]:
        world.record(world.event("Alias", user=name, previous_id=other))
    assert len({world.root(name) for name in names}) == 1
    assert set(world.cart("a")) == {"of-a", "of-b", "of-c", "of-d"}


def guest(world: World, name: str, **fields: Any) -> Event:
    """Ben uses the device of Ada, who has logged out."""
    return world.event(name, anon="device", email=BEN, first_name="Ben", **fields)


@pytest.mark.parametrize("arrival", [(0, 1), (1, 0)])
@pytest.mark.parametrize("ada", ["ada", ADA])
def test_the_address_of_a_guest_on_a_users_device_gets_none_of_the_users_mail(
    world: World, ada: str, arrival: tuple[int, int]
) -> None:
    events = [
        world.event("Identify", user=ada, anon="device", first_name="Ada", email=None if ada == ADA else ADA),
        guest(world, "Checkout Started", at=world.now + MINUTE, products=(product("beer"),)),
    ]
    world.now += HOUR
    for index in arrival:
        world.record(events[index])
    world.record(world.event("Order Completed", user=ada, order_id="1", products=(product("tea"),)))
    world.now += 10 * MINUTE
    world.record(world.event("Product Added", user=ada, product=product("secret")))
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA), ("abandoned_cart", ADA)]
    assert world.esp.mails[1].template_data["first_name"] == "Ada"


def test_an_opt_out_of_a_user_holds_for_the_users_address_and_not_for_a_guests(world: World) -> None:
    world.record(world.event("Identify", user="ada", anon="device", email=ADA))
    world.now += SECOND
    world.record(guest(world, "Product Viewed"), world.event("Unsubscribed", user="ada"))
    for number, email in enumerate((ADA, BEN)):
        world.record(world.event("Product Added", anon=f"other-{number}", email=email, product=product("a")))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", BEN)]


def test_what_a_guest_orders_on_a_users_device_is_confirmed_to_the_guest(world: World) -> None:
    world.record(world.event("Identify", user="ada", anon="device", email=ADA, first_name="Ada"))
    world.now += HOUR
    world.record(guest(world, "Order Completed", order_id="1"))
    world.esp.errors = [EspError("503", status=503)]
    world.run()
    # A further guest comes before it is tried again.
    world.now += SECOND
    world.record(world.event("Checkout Started", anon="device", email=CLEO))
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", BEN)]
    assert world.esp.mails[0].template_data["first_name"] == "Ben"


@pytest.mark.parametrize("arrival", [(0, 1), (1, 0)])
def test_an_order_that_a_user_tells_too_is_the_users(world: World, arrival: tuple[int, int]) -> None:
    world.record(world.event("Identify", user="ada", anon="device", email=ADA))
    world.now += HOUR
    # A CDP's script goes on telling the address of the guest who used the device before.
    tellings = [guest(world, "Order Completed", order_id="1"), world.event("Order Completed", user="ada", order_id="1")]
    world.record(*[tellings[index] for index in arrival])
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_guest_who_signs_up_on_a_users_device_is_welcomed_and_not_the_user(world: World) -> None:
    world.record(world.event("Identify", user="ada", anon="device", email=ADA))
    world.now += HOUR
    world.record(guest(world, "Signed Up"))
    world.now += SECOND
    world.record(guest(world, "Identify"))
    world.run()
    assert world.mails() == [("welcome", BEN)]


def test_a_user_of_whom_no_address_is_known_has_the_one_that_the_device_told(world: World) -> None:
    world.record(guest(world, "Checkout Started", products=(product("a"),)))
    world.now += MINUTE
    world.record(world.event("Identify", user="cleo", anon="device"))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", BEN)]
    assert world.esp.mails[0].template_data["first_name"] == "Ben"


@pytest.mark.parametrize("arrival", [(0, 1), (1, 0)])
@pytest.mark.parametrize("email", [None, BEN])
def test_an_order_that_names_another_user_than_the_devices_is_that_users(
    world: World, email: str | None, arrival: tuple[int, int]
) -> None:
    world.record(world.event("Page", user="ada", anon="device"))
    world.now += HOUR
    # Ben has logged in; the page's script does not know it.
    tellings = [
        world.event("Order Completed", anon="device", email=email, order_id="1"),
        world.event("Order Completed", at=world.now + 5, user="ben", order_id="1"),
    ]
    world.record(*[tellings[index] for index in arrival])
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", BEN)]


def test_an_order_of_a_user_without_an_address_waits_and_is_not_mailed_to_the_devices_user(world: World) -> None:
    world.record(world.event("Page", user="ada", anon="device"))
    world.now += HOUR
    world.record(world.event("Order Completed", anon="device", order_id="1"))
    world.record(world.event("Order Completed", at=world.now + 5, user="cleo", order_id="1"))
    world.run(world.now + MINUTE)
    assert (world.mails(), world.outcomes("cleo")) == ([], [("order_confirmation", "parked")])
    world.record(world.event("Identify", user="cleo", email=CLEO))
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", CLEO)]


@pytest.mark.parametrize(("after", "mails"), [(HOUR, []), (MINUTE, [("welcome", ADA)])])
def test_a_sign_up_by_a_device_that_has_long_been_a_users_does_not_welcome_that_user(
    world: World, after: int, mails: list[Any]
) -> None:
    world.record(world.event("Page", user="ada", anon="device"))
    world.now += after
    # The page's script does not know yet that it is Ben who signs up.
    world.record(world.event("Signed Up", anon="device"))
    world.run(world.now + MINUTE)
    assert world.mails() == mails
    if not mails:
        assert world.decisions("ada")[-1]["reason"] == "known_user"
        world.record(world.event("Signed Up", user="ben", anon="device"))
        world.run(world.now + MINUTE)
        assert world.mails() == [("welcome", BEN)]


def test_a_sign_up_by_a_device_that_is_a_users_from_then_on_welcomes_the_user(world: World) -> None:
    world.record(world.event("Signed Up", anon="device"))
    world.run()
    world.now += HOUR
    world.record(world.event("Page", user="ada", anon="device"))
    world.run(world.now + MINUTE)
    assert world.mails() == [("welcome", ADA)]


@pytest.mark.parametrize("arrival", list(permutations(range(3))))
def test_an_opt_in_that_a_users_device_tells_alone_does_not_lift_the_users_opt_out(
    world: World, arrival: tuple[int, ...]
) -> None:
    events = [
        world.event("Page", user="ada", anon="device"),
        world.event("Unsubscribed", at=world.now + SECOND, user="ada"),
        world.event("Subscribed", at=world.now + HOUR, anon="device"),
    ]
    world.now += 2 * HOUR
    for index in arrival:
        world.record(events[index])
    for user in ("ada", "ada-2"):
        world.record(world.event("Product Added", user=user, email=ADA, product=product("a")))
    world.run(world.now + HOUR)
    assert world.mails() == []


def test_a_device_of_no_user_takes_its_own_opt_out_back(world: World) -> None:
    world.record(world.event("Unsubscribed", anon="device", email=None))
    world.now += HOUR
    world.record(world.event("Subscribed", anon="device"))
    world.record(world.event("Product Added", anon="device", email=CLEO, product=product("a")))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", CLEO)]
