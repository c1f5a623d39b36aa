"""Races at the gate: what happens between its reading and the call to the ESP still counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from redis import Redis

from freshgate.declare import Trigger
from freshgate.errors import EspError
from freshgate.queue import Item, Job
from tests.engine.world import HOUR, MINUTE, PII_KEY, START, World, product
from workers.courier import Courier
from workers.esp.base import Message
from workers.gate import Records
from workers.lookup import Lookup

ADA = "ada@example.com"


class InterruptedLookup(Lookup):
    """Calls `then` right after its first reading."""

    then: Callable[[], object] | None = None

    def records(self, sends: Sequence[tuple[Trigger, str]]) -> dict[str, Records]:
        records = super().records(sends)
        then, self.then = self.then, None
        if then:
            then()
        return records


def interrupted_courier(world: World, then: Callable[[], object]) -> Courier:
    lookup = InterruptedLookup(world.client, PII_KEY, 120_000)
    lookup.then = then
    return Courier(world.client, world.triggers, world.esp, lookup, deadline_ms=10_000, clock=lambda: world.now)


@pytest.fixture
def world(redis: Redis) -> World:
    """Ada left a cart half an hour ago, so her mail is due now."""
    world = World(redis)
    world.record(world.event("Identify", user="ada", email=ADA))
    world.record(world.event("Product Added", user="ada", product=product("a")))
    world.now = START + 31 * MINUTE
    return world


def deliver_first(world: World, courier: Courier) -> None:
    (member, due), *_ = world.due_timers(world.now)
    courier.deliver(Job(sends=(Item(member, due),), created=world.now))


def test_a_purchase_between_reading_and_sending_cancels_the_mail(world: World) -> None:
    deliver_first(world, interrupted_courier(world, lambda: world.record(world.event("Order Completed", user="ada"))))
    world.run(world.now + HOUR)
    assert world.mails() == []
    assert world.outcomes("ada")[-1] == ("abandoned_cart", "cancelled")


def test_an_unsubscribe_of_the_address_between_reading_and_sending_suppresses_the_mail(world: World) -> None:
    deliver_first(world, interrupted_courier(world, lambda: world.record(world.event("Unsubscribed", email=ADA))))
    world.run(world.now + HOUR)
    assert world.mails() == []
    assert world.outcomes("ada") == [("abandoned_cart", "suppressed")]


def test_a_cancellation_of_the_order_between_reading_and_sending_supersedes_it(world: World) -> None:
    world.record(world.event("Order Completed", user="ada", order_id="1", at=START - HOUR))
    (member, due), *_ = [
        timer for timer in world.due_timers(world.now + 30_000) if timer[0].startswith("order_confirmation")
    ]
    courier = interrupted_courier(world, lambda: world.record(world.event("Order Cancelled", user="bob", order_id="1")))
    courier.deliver(Job(sends=(Item(member, due),), created=world.now))
    assert world.mails() == []
    assert ("order_confirmation", "superseded") in world.outcomes("ada")


def test_two_workers_with_the_same_send_send_it_once(world: World) -> None:
    deliver_first(world, interrupted_courier(world, lambda: deliver_first(world, world.new_courier())))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_worker_that_finds_an_open_claim_waits_until_it_is_settled(world: World) -> None:
    other = world.new_courier()
    (member, due), *_ = world.due_timers(world.now)
    world.esp.before_send = lambda message: other.deliver(Job(sends=(Item(member, due),), created=world.now))
    deliver_first(world, world.new_courier())
    world.esp.before_send = None
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_merge_between_claim_and_settle_leaves_one_mail(world: World) -> None:
    world.record(world.event("Product Added", anon="x", product=product("b")))
    world.record(world.event("Identify", anon="x", email=ADA))
    world.now += 31 * MINUTE
    (member, due), *_ = [timer for timer in world.due_timers(world.now) if timer[0].startswith("abandoned_cart|p:a")]

    def merge(message: Message) -> None:
        world.record(world.event("Page", user="new", anon="x"))

    world.esp.before_send = merge
    world.new_courier().deliver(Job(sends=(Item(member, due),), created=world.now))
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
    ((member, due),) = world.due_timers(world.now)
    world.courier.deliver(Job(sends=(Item(member, due),), created=world.now))
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
