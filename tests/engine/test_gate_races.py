"""Races at the gate: what happens between its reading and the call to the ESP still counts."""

from __future__ import annotations

import pytest
from redis import Redis

from freshgate.errors import EspError
from tests.engine.world import HOUR, MINUTE, START, World, product
from workers.esp.base import Message

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    """Ada left a cart half an hour ago, so her mail is due now."""
    world = World(redis)
    world.record(world.event("Identify", user="ada", email=ADA))
    world.record(world.event("Product Added", user="ada", product=product("a")))
    world.now = START + 31 * MINUTE
    return world


def first_timer(world: World, name: str = "abandoned_cart") -> str:
    timer, *_ = [timer for timer, _ in world.due_timers(world.now + 30_000) if timer.startswith(name)]
    return timer


def test_a_purchase_between_reading_and_sending_cancels_the_mail(world: World) -> None:
    world.deliver(
        first_timer(world),
        courier=world.interrupted_courier(lambda: world.record(world.event("Order Completed", user="ada"))),
    )
    world.run(world.now + HOUR)
    assert world.mails() == []
    assert world.outcomes("ada")[-1] == ("abandoned_cart", "cancelled")


def test_an_unsubscribe_of_the_address_between_reading_and_sending_suppresses_the_mail(world: World) -> None:
    world.deliver(
        first_timer(world),
        courier=world.interrupted_courier(lambda: world.record(world.event("Unsubscribed", email=ADA))),
    )
    world.run(world.now + HOUR)
    assert world.mails() == []
    assert world.outcomes("ada") == [("abandoned_cart", "suppressed")]


def test_a_cancellation_of_the_order_between_reading_and_sending_supersedes_it(world: World) -> None:
    world.record(world.event("Order Completed", user="ada", order_id="1", at=START - HOUR))
    cancelled = world.event("Order Cancelled", user="bob", order_id="1")
    courier = world.interrupted_courier(lambda: world.record(cancelled))
    world.deliver(first_timer(world, "order_confirmation"), courier=courier)
    assert world.mails() == []
    assert ("order_confirmation", "superseded") in world.outcomes("ada")


def test_two_workers_with_the_same_send_send_it_once(world: World) -> None:
    timer, other = first_timer(world), world.new_courier()
    world.deliver(timer, courier=world.interrupted_courier(lambda: world.deliver(timer, courier=other)))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_worker_that_finds_an_open_claim_waits_until_it_is_settled(world: World) -> None:
    other = world.new_courier()
    timer = first_timer(world)
    world.esp.before_send = lambda message: world.deliver(timer, courier=other)
    world.deliver(timer)
    world.esp.before_send = None
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_merge_between_claim_and_settle_leaves_one_mail(world: World) -> None:
    world.record(world.event("Product Added", anon="x", product=product("b")))
    world.record(world.event("Identify", anon="x", email=ADA))
    world.now += 31 * MINUTE
    timer = first_timer(world, "abandoned_cart|p:a")

    def merge(message: Message) -> None:
        world.record(world.event("Page", user="new", anon="x"))

    world.esp.before_send = merge
    world.deliver(timer)
    world.esp.before_send = None
    world.run(world.now + HOUR)
    assert [to for _, to in world.mails()].count(ADA) == 2
    assert ("abandoned_cart", "sent") in world.outcomes("new")


def test_a_purchase_while_the_connection_to_the_esp_is_opened_cancels_the_mail(world: World) -> None:
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("tea")))
    world.now += HOUR

    def connecting() -> None:
        world.esp.before_connect = None
        world.record(world.event("Order Completed", user="ada", order_id="1"))

    world.esp.before_connect = connecting
    world.deliver(first_timer(world))
    assert world.mails() == []
    assert ("abandoned_cart", "cancelled") in world.outcomes("ada")


def test_an_esp_that_cannot_be_reached_is_tried_again_and_not_asked_twice(world: World) -> None:
    world.record(world.event("Signed Up", user="ada", email=ADA))
    attempts = []

    def connecting() -> None:
        attempts.append(world.now)
        raise EspError("not sent: ConnectionRefusedError")

    world.esp.before_connect = connecting
    world.run()
    assert len(attempts) == 1
    assert ("welcome", "retry") in world.outcomes("ada")
    world.esp.before_connect = None
    world.run(world.now + HOUR)
    assert ("welcome", ADA) in world.mails()
