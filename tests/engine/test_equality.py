"""Comparisons at the very moment: one millisecond decides, and each side of it has a test."""

from __future__ import annotations

import pytest
from redis import Redis

from freshgate.errors import EspError
from freshgate.state import keys
from tests.engine.world import HOUR, MINUTE, START, World, product

ADA = "ada@example.com"
DAY = 24 * HOUR


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def timer_of(trigger: str, user: str = "ada") -> str:
    return keys.timer(trigger, "p", keys.person_id("main", user))


@pytest.mark.parametrize(("late", "outcome"), [(0, "sent"), (1, "stale")])
def test_a_mail_of_exactly_its_largest_age_leaves(world: World, late: int, outcome: str) -> None:
    world.record(world.event("Signed Up", user="ada", email=ADA))
    world.now = START + DAY + late
    world.deliver(timer_of("welcome"))
    assert world.outcomes("ada") == [("welcome", outcome)]


@pytest.mark.parametrize(("early", "outcome"), [(1, "capped"), (0, "fallback_sent")])
def test_a_cap_is_over_exactly_after_its_window(world: World, early: int, outcome: str) -> None:
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("a")))
    world.run(START + 30 * MINUTE)
    world.now = START + DAY - 5 * MINUTE
    world.record(world.event("Product Added", user="ada", product=product("b")))
    world.now = START + 30 * MINUTE + DAY - early
    world.deliver(timer_of("abandoned_cart"))
    assert world.outcomes("ada")[-1] == ("abandoned_cart", outcome)


@pytest.mark.parametrize(("early", "state"), [(1, "moved"), (0, "sent")])
def test_a_waiting_mail_leaves_at_its_due_and_no_earlier(world: World, early: int, state: str) -> None:
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("a")))
    world.now = START + 30 * MINUTE - early
    world.deliver(timer_of("abandoned_cart"))
    assert world.outcomes("ada") == [("abandoned_cart", state)]


def test_arrivals_without_end_postpone_a_mail_by_exactly_ten_settles(world: World) -> None:
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("a")))
    last = START + 30 * MINUTE + 20 * MINUTE
    for minute in range(29, 50):
        world.run(START + minute * MINUTE)
        world.record(world.event("Page", user="ada"))
    world.run(last - 1)
    assert world.mails() == []
    world.run(last)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_an_older_event_that_arrives_late_does_not_bring_a_timer_forward(world: World) -> None:
    world.now = START + HOUR
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("a")))
    before = world.due_timers(world.now + DAY)
    world.record(world.event("Product Added", user="ada", product=product("b"), at=START))
    assert world.due_timers(world.now + DAY) == before


@pytest.mark.parametrize(("after", "accepted"), [(0, 0), (1, 1)])
def test_what_happened_at_the_moment_of_the_erasure_is_erased(world: World, after: int, accepted: int) -> None:
    world.record(world.event("Delete", user="ada", at=START))
    assert world.record(world.event("Page", user="ada", at=START + after)).accepted == accepted


def test_what_is_added_at_the_moment_of_the_order_was_ordered(world: World) -> None:
    world.record(
        world.event("Order Completed", user="ada", at=START, order_id="1", products=(product("b"),)),
        world.event("Product Added", user="ada", at=START, product=product("a")),
    )
    assert world.cart("ada") == {}


def test_what_is_added_at_the_moment_of_a_snapshot_adds_to_it(world: World) -> None:
    world.record(
        world.event("Product Added", user="ada", at=START, product=product("a")),
        world.event("Cart Viewed", user="ada", at=START, products=(product("b"),)),
    )
    assert world.cart("ada") == {"a": 1, "b": 1}


@pytest.mark.parametrize("name", ["Order Cancelled", "Order Refunded"])
@pytest.mark.parametrize(("after", "outcome"), [(-300_001, "sent"), (-300_000, "superseded"), (0, "superseded")])
def test_what_a_clock_tells_that_is_behind_by_the_grace_withdraws_the_order(
    world: World, name: str, after: int, outcome: str
) -> None:
    world.record(
        world.event("Order Completed", user="ada", email=ADA, order_id="1"),
        world.event(name, user="ada", order_id="1", at=START + after),
    )
    world.run()
    assert world.outcomes("ada") == [("order_confirmation", outcome)]


@pytest.mark.parametrize(("early", "calls"), [(1, 1), (0, 2)])
def test_what_the_esp_asked_to_wait_is_over_exactly_then(world: World, early: int, calls: int) -> None:
    called_at: list[int] = []
    world.esp.before_send = lambda _message: called_at.append(world.now)
    world.esp.errors = [EspError("429", retry_after_s=3600, status=429)]
    world.record(world.event("Signed Up", user="ada", email=ADA))
    world.deliver(timer_of("welcome"))
    world.now += HOUR - early
    world.deliver(timer_of("welcome"))
    assert len(called_at) == calls


@pytest.mark.parametrize(("ago", "mails"), [(300_000, 0), (300_001, 1)])
def test_the_grace_of_an_order_ends_exactly_after_it(world: World, ago: int, mails: int) -> None:
    world.record(world.event("Order Completed", user="ada", at=START - ago, products=(product("a"),)))
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("a")))
    world.run(START + HOUR)
    assert len(world.mails()) == mails
