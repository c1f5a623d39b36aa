"""Gaps: while events were refused, what would withdraw a waiting mail may be on its way; such mails settle first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from adapter.ingest.record import WebhookReply
from freshgate.state import store
from tests.engine.world import HOUR, MINUTE, SECOND, SHOP, START, World, product

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    world = World(redis)
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("tea")))
    return world


def refuse_with_503(world: World) -> None:
    """Redis does not answer the receiver for one request."""
    recorder = world.receiver.recorder
    broken: Any = BrokenRedis()
    client, recorder._client = recorder._client, broken
    with pytest.raises(RedisConnectionError):
        recorder.record([world.event("Page", user="eve")], WebhookReply())
    recorder._client = client


def quarantine_an_element(world: World) -> None:
    world.receiver.recorder.note_gap("main")


def restart_receiver(world: World) -> None:
    store.open_shops(world.client, ["main"])
    # Redis' own clock told the time; the world's is another.
    gap: Any = world.client.get(f"{SHOP}gap")
    last, since = gap.split()
    assert last == since
    world.client.set(f"{SHOP}gap", f"{world.now} {world.now}")


class BrokenRedis:
    def __getattr__(self, name: str) -> Any:
        def fail(*_arguments: Any, **_options: Any) -> Any:
            raise RedisConnectionError("gone")

        return fail


REFUSALS: list[Callable[[World], None]] = [refuse_with_503, quarantine_an_element, restart_receiver]


@pytest.mark.parametrize("refuse", REFUSALS)
def test_a_purchase_that_was_refused_and_comes_again_cancels_the_mail(
    world: World, refuse: Callable[[World], None]
) -> None:
    world.now = START + 29 * MINUTE + 30 * SECOND
    purchase = world.event("Order Completed", user="ada", order_id="1", products=(product("tea"),))
    refuse(world)
    world.now = START + 30 * MINUTE + SECOND
    # The first event that is taken again is another one.
    world.record(world.event("Page", user="eve"))
    world.run(START + 31 * MINUTE)
    assert world.mails() == []
    assert [entry["reason"] for entry in world.decisions("ada") if entry["state"] == "moved"] == ["after_gap"]
    world.record(purchase)
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA)]


@pytest.mark.parametrize("refuse", REFUSALS)
def test_without_a_purchase_the_mail_leaves_once_it_has_settled(world: World, refuse: Callable[[World], None]) -> None:
    world.now = START + 29 * MINUTE + 59 * SECOND
    refuse(world)
    world.record(world.event("Page", user="eve"))
    world.run(START + 31 * MINUTE)
    assert world.mails() == []
    world.run(START + 33 * MINUTE)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_mails_that_leave_at_once_wait_for_no_gap(world: World) -> None:
    refuse_with_503(world)
    world.record(world.event("Order Completed", user="ada", order_id="1"))
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_gap_is_told_once_and_forgotten_within_a_day(world: World, redis: Redis) -> None:
    refuse_with_503(world)
    world.record(world.event("Page", user="eve"))
    first = redis.get(f"{SHOP}gap")
    world.now += MINUTE
    world.record(world.event("Page", user="eve"))
    assert redis.get(f"{SHOP}gap") == first
    assert 0 < int(redis.pttl(f"{SHOP}gap")) <= 24 * HOUR


def test_a_gap_of_one_shop_holds_no_mail_of_another(world: World, redis: Redis) -> None:
    world.receiver.recorder.note_gap("other")
    world.record(world.event("Page", user="eve"))
    assert not redis.exists(f"{SHOP}gap")
    world.run(START + 31 * MINUTE)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_gaps_that_do_not_end_hold_a_mail_for_ten_settles_at_most(world: World) -> None:
    for minute in range(29, 90):
        world.run(START + minute * MINUTE)
        refuse_with_503(world)
        world.record(world.event("Page", user="eve"))
    (mail,) = world.mails()
    assert mail == ("abandoned_cart", ADA)
    sent = world.decisions("ada")[-1]
    assert sent["t"] <= START + 30 * MINUTE + 20 * MINUTE + MINUTE


def test_a_gap_that_another_thread_notes_during_a_call_is_told_by_the_next(world: World, redis: Redis) -> None:
    recorder = world.receiver.recorder
    calls: Any = recorder._calls

    def interrupted(*arguments: Any) -> Any:
        prepared = calls(*arguments)
        recorder.note_gap("main")
        return prepared

    recorder._calls = interrupted  # type: ignore[method-assign,assignment]  # the moment of the race
    world.record(world.event("Page", user="eve"))
    recorder._calls = calls  # type: ignore[method-assign]
    assert not redis.exists(f"{SHOP}gap")
    world.record(world.event("Page", user="eve"))
    assert redis.exists(f"{SHOP}gap")
