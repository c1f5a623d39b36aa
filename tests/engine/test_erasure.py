"""Erasure: what is older than it goes, in whatever order it arrives, and nobody writes to whoever asked for it."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from redis import Redis

from freshgate.events import Event
from freshgate.state import keys
from tests.engine.world import HOUR, MINUTE, SHOP, START, World, product

ADA = "ada@example.com"
BEN = "ben@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def delete(world: World, at: int, **ids: Any) -> Event:
    return world.event("Delete", at=at, **(ids or {"user": "ada"}))


def stored_text(redis: Redis) -> bytes:
    """Everything that is stored of the shop, but for ids and claims, which hold no data."""
    texts: list[bytes] = []
    for key in redis.scan_iter(f"{SHOP}*"):
        kind: Any = redis.type(key)
        if kind == b"hash":
            fields: Any = redis.hgetall(key)
            texts += [name + b"=" + value for name, value in fields.items()]
        elif kind == b"list":
            lines: Any = redis.lrange(key, 0, -1)
            texts += lines
    return b"\n".join(texts)


def test_nothing_that_the_person_did_or_is_stays(world: World, redis: Redis) -> None:
    world.record(
        world.event("Identify", user="ada", anon="x", email=ADA, first_name="Ada"),
        world.event("Product Added", user="ada", product=product("secret-cart")),
        world.event("Product Viewed", anon="x", product=product("secret-view")),
        world.event("Product Removed", anon="x", product=product("secret-removed")),
        world.event("Order Completed", user="ada", order_id="1", order_email=BEN, products=(product("secret-order"),)),
    )
    world.run()
    world.now += MINUTE
    world.record(delete(world, world.now))
    text = stored_text(redis)
    for trace in (b"secret", b"Ada", ADA.encode(), BEN.encode(), keys.address_id(world.planner.pii_key, BEN).encode()):
        assert trace not in text
    assert world.state("ada") == world.state(anon="x") == {}
    for address in (ADA, BEN):
        assert not redis.hexists(keys.address("main", keys.address_id(world.planner.pii_key, address)), "m:order")
        held: Any = redis.hkeys(keys.address("main", keys.address_id(world.planner.pii_key, address)))
        assert not any(name.startswith(b"h:") for name in held)


@pytest.mark.parametrize("arrival", list(permutations(range(3))))
def test_what_is_older_goes_and_what_is_newer_stays_in_any_order(world: World, arrival: tuple[int, ...]) -> None:
    events = [
        world.event("Product Added", at=START, user="ada", email=ADA, product=product("old")),
        delete(world, START + MINUTE),
        world.event("Product Added", at=START + 2 * MINUTE, user="ada", email=BEN, product=product("new")),
    ]
    world.now += 3 * MINUTE
    for index in arrival:
        world.record(events[index])
    assert world.cart("ada") == {"new": 1}
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", BEN)]


@pytest.mark.parametrize("arrival", [(0, 1), (1, 0)])
def test_a_user_id_that_is_an_address_survives_an_erasure_that_arrives_late(
    world: World, arrival: tuple[int, int]
) -> None:
    events = [
        delete(world, START, user=ADA),
        world.event("Product Added", at=START + MINUTE, user=ADA, product=product("new")),
    ]
    for index in arrival:
        world.record(events[index])
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_after_erasure_alias_and_late_events_nobody_is_mailed(world: World) -> None:
    late = [
        world.event("Product Added", at=START, user="ada", email=ADA, product=product("a")),
        world.event("Order Completed", at=START, user="ada", email=ADA, order_id="1", products=(product("a"),)),
        world.event("Signed Up", at=START, user="ada", email=ADA),
    ]
    world.now += MINUTE
    world.record(delete(world, world.now))
    world.record(world.event("Alias", at=world.now + 1, user="new", previous_id="ada"))
    reply = world.record(*late, world.event("Page", at=world.now + 2, user="new"))
    assert (reply.ignored, reply.accepted) == (3, 1)
    world.run(world.now + 3 * HOUR)
    assert world.mails() == []


def test_a_redelivery_after_the_erasure_recreates_nothing(world: World, redis: Redis) -> None:
    page = world.event("Page", user="ada", email=ADA)
    world.record(page)
    world.now += MINUTE
    world.record(delete(world, world.now))
    before = sorted(redis.scan_iter(f"{SHOP}*"))
    for _ in range(2):
        world.record(page)
        for key in redis.scan_iter(f"{SHOP}seen:*"):
            redis.delete(key)
    after = [key for key in redis.scan_iter(f"{SHOP}*") if b":seen:" not in key]
    assert after == [key for key in before if b":seen:" not in key] or set(after) <= set(before)
    assert world.state("ada") == {}


def test_an_order_told_again_after_the_erasure_is_not_mailed(world: World) -> None:
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1", products=(product("a"),)))
    world.record(delete(world, START + MINUTE))
    world.now += 2 * MINUTE
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1", products=(product("a"),)))
    world.run(world.now + HOUR)
    assert world.mails() == []


def test_a_device_that_is_linked_after_the_erasure_is_erased_too(world: World, redis: Redis) -> None:
    world.record(world.event("Product Added", anon="x", product=product("secret")))
    world.record(world.event("Identify", user="ada", email=ADA))
    world.record(delete(world, START + MINUTE))
    world.now += 2 * MINUTE
    world.record(world.event("Page", user="ada", anon="x"))
    assert b"secret" not in stored_text(redis)
    world.run(world.now + HOUR)
    assert world.mails() == []


@pytest.mark.parametrize("erased_first", [True, False])
def test_a_device_that_was_erased_with_one_user_erases_no_other_user(world: World, erased_first: bool) -> None:
    world.record(world.event("Identify", at=START, user="ben", email=BEN))
    world.record(world.event("Page", at=START + MINUTE, user="ada", anon="x"))
    steps = [
        delete(world, START + 2 * MINUTE),
        # The device met Ben first; the news of it comes late.
        world.event("Page", at=START + 1, user="ben", anon="x"),
    ]
    for event in steps if erased_first else reversed(steps):
        world.record(event)
    assert world.person("ben").email == BEN
    world.now += 3 * MINUTE
    world.record(world.event("Product Added", user="ben", product=product("a")))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", BEN)]


@pytest.mark.parametrize("arrival", [(0, 1), (1, 0)])
@pytest.mark.parametrize("with_address", [True, False])
def test_an_opt_out_holds_although_its_person_was_erased_since(
    world: World, arrival: tuple[int, int], with_address: bool
) -> None:
    events = [
        world.event("Unsubscribed", at=START, user="ada", email=ADA if with_address else None),
        delete(world, START + MINUTE),
    ]
    for index in arrival:
        world.record(events[index])
    world.now += 2 * MINUTE
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("a")))
    world.run(world.now + HOUR)
    assert world.outcomes("ada") == [("abandoned_cart", "suppressed")]


def test_erasing_a_stranger_is_remembered_until_the_late_events_are_in(world: World, redis: Redis) -> None:
    world.record(delete(world, START + MINUTE, user="stranger"))
    key = keys.person("main", keys.person_id("main", "stranger"))
    assert int(redis.pttl(key)) > 179 * 24 * HOUR
    assert world.record(world.event("Page", at=START, user="stranger")).ignored == 1


def test_an_erasure_between_reading_and_claiming_stops_the_mail(world: World) -> None:
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.courier = world.interrupted_courier(lambda: world.record(delete(world, START + MINUTE)))
    world.run()
    assert world.mails() == []


def test_an_erasure_while_the_esp_is_called_leaves_one_mail_and_no_trace_of_before(world: World, redis: Redis) -> None:
    world.record(world.event("Signed Up", user="ada", email=ADA))

    def erase(_message: Any) -> None:
        world.record(delete(world, START + MINUTE))

    world.esp.before_send = erase
    world.run(world.now + HOUR)
    assert world.mails() == [("welcome", ADA)]
    assert ADA.encode() not in stored_text(redis)
    assert world.due_timers(world.now + 100 * HOUR) == []


@pytest.mark.parametrize("who", [{"anon": "x"}, {"user": "ben", "anon": "x"}])
def test_what_a_shared_device_asks_alone_erases_what_it_told_and_no_user(world: World, who: dict[str, Any]) -> None:
    world.record(
        world.event("Product Added", at=START, anon="x", product=product("x")),
        world.event("Identify", at=START, user="ada", anon="x", email=ADA),
        world.event("Identify", at=START + 1, user="ben", anon="x", email=BEN),
        world.event("Product Added", at=START + 2, user="ada", product=product("a")),
    )
    world.now += MINUTE
    world.record(world.event("Delete", **who))
    assert world.cart("ada") == ({"a": 1} if "user" not in who else {"a": 1, "x": 1})
    assert world.person("ada").email == ADA
    assert world.person("ben").email == (None if "user" in who else BEN)
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]
    # What the device told before and arrives late stays away.
    if "user" not in who:
        assert world.record(world.event("Product Added", at=START, anon="x", product=product("late"))).ignored == 1


def test_what_a_device_asked_before_another_user_came_erases_its_user_though_it_arrives_late(world: World) -> None:
    world.record(
        world.event("Identify", at=START, user="ada", anon="x", email=ADA),
        world.event("Identify", at=START + 2 * MINUTE, user="ben", anon="x", email=BEN),
        world.event("Delete", at=START + MINUTE, anon="x"),
    )
    assert world.person("ada").email is None
    assert world.person("ben").email == BEN


def test_a_user_id_that_two_others_took_over_is_erased_with_the_first(world: World) -> None:
    world.record(
        world.event("Identify", at=START, user="old", email=ADA),
        world.event("Alias", at=START + 1, user="ada", previous_id="old"),
        world.event("Product Added", at=START + 2, user="ada", product=product("a")),
        world.event("Alias", at=START + 3, user="ben", previous_id="old"),
    )
    assert world.cart("ada") == {"a": 1}
    world.now += MINUTE
    world.record(world.event("Delete", user="old"))
    assert world.cart("ada") == {} and world.person("ada").email is None


def test_an_older_erasure_of_a_shared_device_does_not_shorten_the_newer_one(world: World) -> None:
    world.record(
        world.event("Identify", at=START, user="ada", anon="x", email=ADA),
        world.event("Identify", at=START + 1, user="ben", anon="x", email=BEN),
        world.event("Delete", at=START + MINUTE, anon="x"),
        world.event("Delete", at=START + 2, anon="x"),
    )
    assert world.record(world.event("Product Added", at=START + 3, anon="x", product=product("late"))).ignored == 1
    device: Any = world.client.hgetall(keys.person("main", keys.person_id("main", None, "x")))
    assert int(device[b"del"]) == START + MINUTE


def test_the_erasure_of_a_shared_device_between_reading_and_claiming_stops_the_mail_about_its_cart(
    world: World,
) -> None:
    world.record(
        world.event("Product Added", at=START, anon="x", product=product("x")),
        world.event("Identify", at=START, user="ada", anon="x", email=ADA),
        world.event("Identify", at=START + 1, user="ben", anon="x", email=BEN),
    )
    world.now += 31 * MINUTE
    world.courier = world.interrupted_courier(lambda: world.record(world.event("Delete", anon="x")))
    world.run()
    assert world.mails() == []
