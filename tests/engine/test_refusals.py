"""Opt-outs, opt-ins, bounces: the newest counts, in any order of arrival, with an address and without one."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from redis import Redis

from catalog import EVENTS
from freshgate.declare import EventType
from freshgate.state import keys
from freshgate.state.stamps import stamp
from tests.engine.world import HOUR, MINUTE, START, World, product

ADA = "ada@example.com"
SUBSCRIBED = EventType(name="Subscribed", lifts="unsubscribed")


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis, events=(*EVENTS, SUBSCRIBED))


def is_mailed(world: World, **ids: Any) -> bool:
    """Whether a cart of that person is mailed."""
    world.record(world.event("Product Added", product=product("a"), **ids))
    world.run(world.now + HOUR)
    return ("abandoned_cart", ADA) in world.mails()


@pytest.mark.parametrize("arrival", list(permutations(range(3))))
@pytest.mark.parametrize("out_has_address", [True, False])
@pytest.mark.parametrize("in_has_address", [True, False])
@pytest.mark.parametrize("opt_in_is_newer", [True, False])
def test_the_newest_of_opt_out_and_opt_in_counts(
    world: World, arrival: tuple[int, ...], out_has_address: bool, in_has_address: bool, opt_in_is_newer: bool
) -> None:
    out_at, in_at = (START, START + MINUTE) if opt_in_is_newer else (START + MINUTE, START)
    events = [
        world.event("Unsubscribed", at=out_at, user="ada", email=ADA if out_has_address else None),
        world.event("Subscribed", at=in_at, user="ada", email=ADA if in_has_address else None),
        world.event("Identify", at=START, user="ada", email=ADA),
    ]
    world.now += 2 * MINUTE
    for index in arrival:
        world.record(events[index])
    assert is_mailed(world, user="ada") is opt_in_is_newer
    # The same address under another id.
    world.now += 48 * HOUR
    world.esp.mails.clear()
    assert is_mailed(world, user="crm-17", email=ADA) is opt_in_is_newer


@pytest.mark.parametrize("arrival", list(permutations(range(4))))
def test_what_a_device_was_told_before_it_was_linked_counts_for_the_user(
    world: World, arrival: tuple[int, ...]
) -> None:
    events = [
        world.event("Unsubscribed", at=START, anon="x"),
        world.event("Subscribed", at=START + 1, user="ada"),
        world.event("Unsubscribed", at=START + 2, anon="x"),
        world.event("Identify", at=START + 3, user="ada", anon="x", email=ADA),
    ]
    for index in arrival:
        world.record(events[index])
    assert not is_mailed(world, user="ada")


@pytest.mark.parametrize("event", ["Email Bounced", "Email Marked as Spam"])
def test_an_opt_in_lifts_no_bounce_and_no_complaint(world: World, event: str) -> None:
    world.record(
        world.event(event, at=START, user="ada", email=ADA),
        world.event("Subscribed", at=START + 1, user="ada", email=ADA),
        world.event("Identify", user="ada", email=ADA),
    )
    assert not is_mailed(world, user="ada")


def test_a_refusal_expires_with_nobody(world: World, redis: Redis) -> None:
    world.record(world.event("Subscribed", user="ada", email=ADA))
    address = keys.address("main", keys.address_id(world.planner.pii_key, ADA))
    assert int(redis.pttl(address)) > 0
    world.record(world.event("Unsubscribed", user="ada", email=ADA))
    assert redis.pttl(address) == -1
    # What is told of the address later gives it no end.
    world.record(world.event("Identify", user="ada", email=ADA), world.event("Subscribed", user="ada", email=ADA))
    world.now += 48 * HOUR
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.run()
    assert redis.pttl(address) == -1


def test_an_opt_out_without_an_address_follows_its_person_to_a_new_address(world: World) -> None:
    world.record(world.event("Identify", user="ada", email="old@example.com"), world.event("Unsubscribed", user="ada"))
    world.record(world.event("Identify", at=START + MINUTE, user="ada", email=ADA))
    assert not is_mailed(world, user="crm-17", email=ADA)


def test_an_opt_out_through_an_alias_holds_for_the_address_of_the_new_name(world: World) -> None:
    world.record(world.event("Unsubscribed", user="old"), world.event("Identify", user="new", email=ADA))
    world.record(world.event("Alias", user="new", previous_id="old"))
    assert not is_mailed(world, user="crm-17", email=ADA)


def test_an_opt_out_between_reading_and_claiming_stops_the_mail(world: World) -> None:
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("a")))
    world.now += 31 * MINUTE
    world.courier = world.interrupted_courier(lambda: world.record(world.event("Unsubscribed", anon="x", email=ADA)))
    world.run()
    assert world.mails() == []
    assert world.outcomes("ada") == [("abandoned_cart", "suppressed")]


def test_an_opt_out_of_another_person_with_the_address_stops_the_mail_too(world: World) -> None:
    world.record(world.event("Identify", user="crm-17", email=ADA))
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("a")))
    world.now += 31 * MINUTE
    world.courier = world.interrupted_courier(lambda: world.record(world.event("Unsubscribed", user="crm-17")))
    world.run()
    assert world.mails() == []


def test_what_a_shared_device_was_told_after_it_met_a_second_user_refuses_for_neither(world: World) -> None:
    world.record(world.event("Identify", at=START, user="ada", anon="x", email=ADA))
    world.record(world.event("Unsubscribed", at=START + 2, anon="x"))
    world.record(world.event("Page", at=START + 1, user="ben", anon="x"))
    # The news of the second user came after the opt-out had reached the address: it only ever withholds.
    address = keys.address("main", keys.address_id(world.planner.pii_key, ADA))
    assert world.client.hexists(address, "m:unsubscribed")
    assert world.person("ada").suppression("unsubscribed") is None
    assert world.record(world.event("Unsubscribed", at=START + 3, anon="x")).ignored == 1


@pytest.mark.parametrize("arrival", list(permutations(range(3))))
def test_a_user_who_unsubscribes_by_an_older_address_gets_no_marketing_at_the_newer_one(
    world: World, arrival: tuple[int, ...]
) -> None:
    events = [
        world.event("Identify", at=START, user="ada", email="old@example.com"),
        world.event("Identify", at=START + 1, user="ada", email=ADA),
        world.event("Unsubscribed", at=START + 2, user="ada", email="old@example.com"),
    ]
    for index in arrival:
        world.record(events[index])
    assert not is_mailed(world, user="ada")
    # The same address under another id; until the user opts in again.
    assert not is_mailed(world, user="crm-17", email=ADA)
    world.record(world.event("Subscribed", user="ada", email=ADA))
    assert is_mailed(world, user="ada")


def test_a_bounce_of_an_older_address_is_not_the_users(world: World) -> None:
    world.record(
        world.event("Identify", at=START, user="ada", email=ADA),
        world.event("Email Bounced", at=START + 1, user="ada", email="old@example.com"),
    )
    assert is_mailed(world, user="ada")


def test_who_unsubscribes_on_somebodys_device_unsubscribes_no_other(world: World) -> None:
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    world.record(world.event("Unsubscribed", anon="x", email="guest@example.com"))
    assert is_mailed(world, user="ada")


def test_an_opt_out_of_a_device_that_is_one_of_too_many_still_counts(world: World) -> None:
    world.record(world.event("Unsubscribed", anon="old"), world.event("Page", user="ada", anon="old"))
    for number in range(200):
        world.record(world.event("Page", user="ada", anon=f"device-{number}"))
    assert world.client.hget(keys.person("main", keys.person_id("main", None, "old")), "idle") == b"1"
    world.record(world.event("Identify", user="ada", email=ADA))
    assert not is_mailed(world, user="ada")


@pytest.mark.parametrize("is_older", [True, False])
def test_of_one_of_too_many_neither_older_refusals_count_nor_those_of_a_shared_device(
    world: World, redis: Redis, is_older: bool
) -> None:
    world.record(
        world.event("Page", at=START, user="ada", anon="old"),
        world.event("Page", at=START + 1, user="ben", anon="old"),
        world.event("Unsubscribed", at=START - 1, user="ada"),
    )
    user = keys.person("main", keys.person_id("main", "ada"))
    device = keys.person("main", keys.person_id("main", None, "old"))
    before: Any = redis.hget(user, "m:unsubscribed")
    # Told before the user's, or after the second login and recorded before the news of that arrived.
    refusal = stamp(START - 2, "m") if is_older else stamp(START + 2, "m")
    redis.hset(device, "m:unsubscribed", refusal + "segment")
    for number in range(200):
        world.record(world.event("Page", user="ada", anon=f"device-{number}"))
    assert redis.hget(device, "idle") == b"1"
    assert redis.hget(user, "m:unsubscribed") == before
