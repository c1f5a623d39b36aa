"""Clocks that are off: of phones, receivers and workers. Decisions are by Redis' clock alone."""

from __future__ import annotations

import time
from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis

from freshgate.events import Event
from freshgate.queue import Item, Job
from freshgate.state import keys, store
from freshgate.state.clock import RedisClock
from freshgate.state.store import fcall
from tests.engine.world import HOUR, MINUTE, PII_KEY, SECOND, SHOP, START, World, product
from workers.courier import Courier
from workers.lookup import Lookup

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    world = World(redis)
    world.record(world.event("Identify", user="ada", email=ADA))
    world.now += HOUR
    return world


def marketing(world: World) -> list[str]:
    return [trigger for trigger, _ in world.mails() if trigger != "order_confirmation"]


@pytest.mark.parametrize("ahead_s", [1, 60, 180, 299])
@pytest.mark.parametrize("event", ["Product Added", "Product Viewed", "Cart Viewed"])
def test_a_phone_that_is_minutes_ahead_causes_no_mail_about_what_was_bought(
    world: World, ahead_s: int, event: str
) -> None:
    fields = {"products": (product("tea"),)} if event == "Cart Viewed" else {"product": product("tea")}
    world.record(world.event(event, at=world.now + ahead_s * SECOND, user="ada", **fields))
    world.now += SECOND
    world.record(world.event("Order Completed", user="ada", order_id="1", products=(product("tea"),)))
    world.run(world.now + 3 * HOUR)
    assert marketing(world) == []


@pytest.mark.parametrize("after_s", [1, 10, 299])
def test_the_page_of_an_order_that_shows_its_product_once_more_is_no_new_view(world: World, after_s: int) -> None:
    world.record(world.event("Order Completed", user="ada", order_id="1", products=(product("tea"),)))
    world.now += after_s * SECOND
    world.record(world.event("Product Viewed", user="ada", product=product("tea")))
    world.run(world.now + 3 * HOUR)
    assert marketing(world) == []


def test_another_product_viewed_right_after_an_order_is_a_new_view(world: World) -> None:
    world.record(world.event("Order Completed", user="ada", order_id="1", products=(product("tea"),)))
    world.now += 10 * SECOND
    world.record(world.event("Product Viewed", user="ada", product=product("cup")))
    world.run(world.now + 3 * HOUR)
    assert marketing(world) == ["browse_abandonment"]


def consent(world: World, name: str, after: int, message_id: str, phone: str | None = None, **fields: Any) -> Event:
    """What occurred by its own clock so long (ms) after `world.now`."""
    return world.event(name, at=world.now + after, user="ada", anon=phone, message_id=message_id, **fields)


@pytest.mark.parametrize("arrival", [(0, 1), (1, 0)])
@pytest.mark.parametrize("email", [ADA, None])
@pytest.mark.parametrize("delay", [0, 10 * MINUTE])
@pytest.mark.parametrize(("opt_in_after", "opt_out_after"), [(4 * MINUTE, 0), (-MINUTE, -5 * MINUTE + SECOND)])
def test_an_opt_in_that_is_newer_by_a_phones_clock_alone_lifts_nothing(
    world: World, opt_in_after: int, opt_out_after: int, delay: int, email: str | None, arrival: tuple[int, int]
) -> None:
    # In truth the opt-in was a minute before the opt-out; the phone that tells one of them is ahead, or behind.
    phones = ("phone", None) if opt_in_after > 0 else (None, "phone")
    events = [
        consent(world, "Subscribed", opt_in_after, "in", phones[0], email=email),
        consent(world, "Unsubscribed", opt_out_after, "out", phones[1], email=email),
    ]
    world.now += delay
    for index in arrival:
        world.record(events[index])
    world.record(world.event("Product Added", user="ada", product=product("tea")))
    world.run(world.now + 3 * HOUR)
    assert marketing(world) == []
    (entry,) = world.decisions("ada")
    assert (entry["state"], entry["reason"]) == ("suppressed", "unsubscribed")
    # The trail shows that there is an opt-in, and when.
    assert entry["compared"]["subscribed"] - entry["compared"]["unsubscribed"] == opt_in_after - opt_out_after


@pytest.mark.parametrize("arrival", [(0, 1), (1, 0)])
@pytest.mark.parametrize(("phone", "later"), [(None, MINUTE), (None, 1), ("phone", 5 * MINUTE + 1)])
def test_who_opts_out_and_in_again_gets_mail(
    world: World, phone: str | None, later: int, arrival: tuple[int, int]
) -> None:
    events = [
        consent(world, "Unsubscribed", 0, "out", phone, email=ADA),
        consent(world, "Subscribed", later, "in", phone, email=ADA),
    ]
    world.now += later
    for index in arrival:
        world.record(events[index])
    world.record(world.event("Product Added", user="ada", product=product("tea")))
    world.run(world.now + 3 * HOUR)
    assert marketing(world) == ["abandoned_cart"]


@pytest.mark.parametrize("arrival", [(0, 1), (1, 0)])
@pytest.mark.parametrize(("phone", "later"), [(None, 0), ("phone", 5 * MINUTE)])
def test_an_opt_in_that_is_not_surely_newer_lifts_nothing(
    world: World, phone: str | None, later: int, arrival: tuple[int, int]
) -> None:
    # Of the same millisecond, each of the two ids has the higher stamp once.
    for names in (("Unsubscribed", "Subscribed"), ("Subscribed", "Unsubscribed")):
        world.client.flushdb()
        events = [
            consent(world, name, later if name == "Subscribed" else 0, message_id, phone, email=ADA)
            for name, message_id in zip(names, ("first", "second"), strict=True)
        ]
        world.now += later
        for index in arrival:
            world.record(events[index])
        world.record(world.event("Product Added", user="ada", product=product("tea")))
        world.run(world.now + 3 * HOUR)
        assert marketing(world) == []


def test_the_trail_shows_the_newest_opt_out_and_the_newest_opt_in_after_it(world: World) -> None:
    start = world.now
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("tea")))
    consents: tuple[tuple[str, int, dict[str, Any]], ...] = (
        ("Unsubscribed", 1, {"user": "ada"}),
        ("Unsubscribed", 2, {"email": ADA}),
        ("Subscribed", 2 * MINUTE, {"user": "ada", "anon": "phone"}),
        ("Subscribed", 3 * MINUTE, {"email": ADA, "anon": "tablet"}),
    )
    for name, after, ids in consents:
        world.now = start + after
        world.record(world.event(name, **ids))
    world.run(world.now + 3 * HOUR)
    (entry,) = world.decisions("ada")
    assert entry["state"] == "suppressed"
    assert entry["compared"]["unsubscribed"] == start + 2
    assert entry["compared"]["subscribed"] == start + 3 * MINUTE


@pytest.mark.parametrize(("name", "opt_in_after"), [("Unsubscribed", -SECOND), ("Email Bounced", SECOND)])
def test_the_trail_shows_no_opt_in_that_is_older_or_ends_nothing(world: World, name: str, opt_in_after: int) -> None:
    world.record(consent(world, name, 0, "out", email=ADA), consent(world, "Subscribed", opt_in_after, "in", email=ADA))
    world.record(world.event("Product Added", user="ada", product=product("tea")))
    world.run(world.now + 3 * HOUR)
    (entry,) = world.decisions("ada")
    assert (entry["state"], "subscribed" in entry["compared"]) == ("suppressed", False)


@pytest.mark.parametrize("time", [{"unreadable": ("occurred_at",)}, {"doubtful": ("occurred_at",)}, {"clamped": True}])
def test_an_opt_in_whose_time_is_a_guess_lifts_no_opt_out_of_that_day(world: World, time: dict[str, Any]) -> None:
    world.record(consent(world, "Unsubscribed", 0, "out"))
    world.now += 20 * HOUR
    world.record(replace(consent(world, "Subscribed", 0, "in"), **time))
    world.record(world.event("Product Added", user="ada", product=product("tea")))
    world.run(world.now + 3 * HOUR)
    assert marketing(world) == []
    assert world.outcomes("ada") == [("abandoned_cart", "suppressed")]


@pytest.mark.parametrize("off", [-HOUR, -6 * MINUTE, 6 * MINUTE, HOUR])
def test_a_receiver_whose_clock_is_off_moves_no_due(world: World, off: int) -> None:
    # What it writes down as the time of receipt is its own; what a mail waits for is not.
    world.record(world.event("Product Added", user="ada", product=product("tea"), received_at=world.now + off))
    ((_, due),) = world.due_timers(world.now + 3 * HOUR)
    assert due == world.now + 30 * MINUTE
    assert world.person("ada").received_at == world.now


def test_an_event_dated_an_hour_ahead_waits_no_longer_than_its_delay(world: World) -> None:
    world.record(world.event("Product Added", at=world.now + HOUR, user="ada", product=product("tea")))
    world.run(world.now + 31 * MINUTE)
    assert marketing(world) == ["abandoned_cart"]


def test_a_clock_that_an_old_event_turned_back_does_not_move_a_due_into_the_past(world: World) -> None:
    world.record(world.event("Product Added", at=world.now - 20 * HOUR, user="ada", product=product("tea")))
    ((timer, due),) = world.due_timers(world.now + HOUR)
    assert due == world.now + 2 * MINUTE
    world.deliver(timer)
    assert world.mails() == []
    (entry,) = world.decisions("ada")
    assert (entry["state"], entry["reason"], entry["due"]) == ("moved", "moved", world.now + 2 * MINUTE)


def test_a_send_that_fires_early_again_and_again_is_one_line_with_a_count(world: World) -> None:
    world.record(world.event("Product Added", user="ada", product=product("tea")))
    timer = keys.timer("abandoned_cart", "p", keys.person_id("main", "ada"))
    for _ in range(200):
        world.deliver(timer)
    (entry,) = world.decisions("ada")
    assert (entry["state"], entry["times"]) == ("moved", 200)


@pytest.mark.parametrize("off_s", [-3600, -2, 2, 3600])
def test_a_worker_whose_clock_is_off_decides_by_redis_clock(redis: Redis, off_s: int) -> None:
    store.load(redis)
    world = World(redis)
    seconds, micros = redis.time()
    now = int(seconds) * 1000 + int(micros) // 1000
    courier = Courier(redis, world.triggers, world.esp, Lookup(redis, PII_KEY, 300_000), deadline_ms=10_000)
    # What its host believed before the first trip.
    courier._clock.set(now + off_s * 1000)
    world.now = now
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.record(world.event("Product Added", user="ben", email="ben@example.com", product=product("tea")))
    timers = [timer for timer, _ in world.due_timers(now + HOUR)]
    courier.deliver(Job(sends=tuple(Item(timer, 0) for timer in timers), created=now, shop="main"))
    assert world.mails() == [("order_confirmation", ADA)]
    ((_, due),) = world.due_timers(now + HOUR)
    assert due == now + 30 * MINUTE


def test_the_clock_goes_on_between_two_trips() -> None:
    clock = RedisClock()
    clock.set(START)
    first = clock.now()
    deadline = time.monotonic() + 5
    while clock.now() == first and time.monotonic() < deadline:
        time.sleep(0.001)
    assert START <= first < clock.now() < START + 60_000


def test_leases_and_dues_are_by_redis_clock(redis: Redis) -> None:
    world = World(redis)
    world.record(world.event("Signed Up", user="ada", email=ADA))
    now, _, *flat = fcall(redis, "claim_due", SHOP, "", 10, 30_000)
    seconds, _ = redis.time()
    assert abs(int(now) - int(seconds) * 1000) < 60_000
    # The world's time is long past for Redis.
    assert len(flat) == 3


@pytest.mark.parametrize(("off_ms", "word"), [(1_700, "ahead of"), (-1_700, "behind"), (500, ""), (-500, "")])
def test_a_host_that_is_more_than_a_second_off_is_not_ready(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, off_ms: int, word: str
) -> None:
    monkeypatch.setattr(store, "now_ms", lambda: time.time_ns() // 1_000_000 + off_ms)
    problems, _ = store.check(redis)
    of_clock = [problem for problem in problems if problem.startswith("clock")]
    assert len(of_clock) == (1 if word else 0)
    assert all(word in problem for problem in of_clock)
