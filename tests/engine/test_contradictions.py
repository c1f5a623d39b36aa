"""A mail that a later arrival proves wrong: counted once as contradicted, with an entry on the trail."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from freshgate.telemetry import metrics
from tests.engine.world import HOUR, MINUTE, SECOND, World, product

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def contradictions(world: World, user: str) -> list[dict[str, Any]]:
    return [decision for decision in world.decisions(user) if decision["state"] == "contradicted"]


def contradicted_total(trigger: str, reason: str) -> float:
    return metrics.CONTRADICTED.labels(trigger, reason)._value.get()


def mail_a_cart(world: World) -> None:
    world.record(
        world.event("Identify", user="ada", email=ADA),
        world.event("Product Added", user="ada", product=product("tea")),
    )
    world.run(world.now + 31 * MINUTE)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_purchase_before_the_mail_that_arrives_after_it_contradicts_it_once(world: World) -> None:
    before = contradicted_total("abandoned_cart", "ordered")
    mail_a_cart(world)
    for number in range(2):
        order = world.event(
            "Order Completed", user="ada", order_id=f"{number}", products=(product("tea"),), at=world.now - 10 * MINUTE
        )
        world.record(order)
        world.run(world.now + 5 * SECOND)
    (only,) = contradictions(world, "ada")
    assert only["trigger"] == "abandoned_cart"
    assert only["reason"] == "ordered"
    assert contradicted_total("abandoned_cart", "ordered") == before + 1


def test_a_purchase_after_the_mail_is_what_the_mail_was_for(world: World) -> None:
    mail_a_cart(world)
    world.now += MINUTE
    world.record(world.event("Order Completed", user="ada", order_id="1", products=(product("tea"),)))
    world.run(world.now + HOUR)
    assert contradictions(world, "ada") == []


def test_a_late_event_that_changes_nothing_contradicts_nothing(world: World) -> None:
    mail_a_cart(world)
    world.record(world.event("Product Viewed", user="ada", product=product("mug"), at=world.now - 20 * MINUTE))
    world.record(world.event("Product Added", user="ada", product=product("tea")))
    world.record(world.event("Identify", user="ada", email=ADA, at=world.now - MINUTE))
    world.run(world.now + MINUTE)
    assert contradictions(world, "ada") == []


def test_activity_before_the_mail_that_arrives_after_it_contradicts_it(world: World) -> None:
    mail_a_cart(world)
    world.record(world.event("Product Added", user="ada", product=product("mug"), at=world.now - 2 * MINUTE))
    world.run(world.now + MINUTE)
    assert [decision["reason"] for decision in contradictions(world, "ada")] == ["not_quiet_yet"]


def test_an_unsubscribe_before_the_mail_that_arrives_after_it_contradicts_it(world: World) -> None:
    mail_a_cart(world)
    world.record(world.event("Unsubscribed", user="ada", email=ADA, at=world.now - 10 * MINUTE))
    world.run(world.now + MINUTE)
    assert [decision["reason"] for decision in contradictions(world, "ada")] == ["unsubscribed"]


def test_a_cancellation_by_somebody_else_contradicts_the_confirmation(world: World) -> None:
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]
    world.now += MINUTE
    world.record(world.event("Order Cancelled", user="desk", order_id="1", at=world.now - MINUTE))
    world.run(world.now + MINUTE)
    assert [decision["reason"] for decision in contradictions(world, "ada")] == ["order_cancelled"]


def test_a_merge_that_brings_an_earlier_purchase_contradicts_the_mail(world: World) -> None:
    world.record(
        world.event("Order Completed", anon="x", order_id="1", products=(product("tea"),), at=world.now + MINUTE)
    )
    mail_a_cart(world)
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    world.run(world.now + MINUTE)
    assert [decision["reason"] for decision in contradictions(world, "ada")] == ["ordered"]


def test_a_mail_that_was_on_its_way_while_its_device_was_linked_is_looked_back_at(world: World) -> None:
    world.record(world.event("Product Added", anon="x", email=ADA, product=product("tea")))

    def link(_message: object) -> None:
        world.esp.before_send = None
        world.record(world.event("Page", user="ada", anon="x"))

    world.esp.before_send = link
    world.run(world.now + 31 * MINUTE)
    assert world.mails() == [("abandoned_cart", ADA)]
    purchase = world.event("Order Completed", user="ada", products=(product("tea"),), at=world.now - 10 * MINUTE)
    world.record(purchase)
    world.run(world.now + MINUTE)
    assert [decision["reason"] for decision in contradictions(world, "ada")] == ["ordered"]


def test_a_contradiction_is_counted_once_although_the_person_got_another_name(world: World) -> None:
    mail_a_cart(world)
    world.record(world.event("Order Completed", user="ada", products=(product("tea"),), at=world.now - 10 * MINUTE))
    world.run(world.now + MINUTE)
    world.record(world.event("Alias", user="ada-2", previous_id="ada"))
    world.record(world.event("Page", user="ada-2", at=world.now - 10 * MINUTE))
    world.run(world.now + MINUTE)
    assert len(contradictions(world, "ada-2")) == 1
