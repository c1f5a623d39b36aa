"""A gap: events of a shop were refused and come again. Waiting mails settle first: a purchase may be among them."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.engine.world import MINUTE, SECOND, World, product

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def wait_with_a_cart_until_events_are_refused(world: World) -> None:
    """Ada's cart mail is due in a second, when a request of somebody's is answered 503 and the next one is recorded."""
    world.record(
        world.event("Identify", user="ada", email=ADA),
        world.event("Product Added", user="ada", product=product("tea")),
    )
    world.now += 30 * MINUTE - SECOND
    world.receiver.recorder.note_gap("main")
    world.record(world.event("Page", user="bob"))


def test_a_mail_that_is_due_right_after_events_were_refused_waits_until_they_came_again(world: World) -> None:
    ordered_at = world.now + MINUTE
    wait_with_a_cart_until_events_are_refused(world)
    world.run(world.now + MINUTE)
    assert world.mails() == []
    assert [entry["reason"] for entry in world.decisions("ada")] == ["after_gap"]
    # The purchase was among what was refused.
    world.record(world.event("Order Completed", user="ada", order_id="1", products=(product("tea"),), at=ordered_at))
    world.run(world.now + 10 * MINUTE)
    assert [mail for mail in world.mails() if mail[0] == "abandoned_cart"] == []
    assert ("abandoned_cart", "cancelled") in world.outcomes("ada")


def test_where_nothing_comes_again_the_mail_leaves_a_settle_time_later(world: World) -> None:
    wait_with_a_cart_until_events_are_refused(world)
    refused_at = world.now
    world.run(world.now + 10 * MINUTE)
    assert world.mails() == [("abandoned_cart", ADA)]
    (moved, sent) = world.decisions("ada")
    assert (moved["reason"], sent["state"]) == ("after_gap", "sent")
    assert moved["due"] == refused_at + world.triggers["abandoned_cart"].settle_ms


def test_a_mail_without_a_delay_does_not_wait(world: World) -> None:
    world.receiver.recorder.note_gap("main")
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]
