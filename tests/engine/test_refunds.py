"""Refunds: only a full one withdraws the confirmation, in whatever way it is told."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis

from tests.engine.world import MINUTE, World, product

ADA = "ada@example.com"
TEA, MUG = product("tea"), product("mug")


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def confirmations(world: World, *refunds: dict[str, Any], unreadable: tuple[str, ...] = ()) -> int:
    """How many confirmations leave when these refunds arrive before the order."""
    for number, fields in enumerate(refunds):
        event = world.event("Order Refunded", user="ada", order_id="1", at=world.now + number + 1, **fields)
        world.record(event if not unreadable else _with_unreadable(event, unreadable))
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1", total="20", products=(TEA, MUG)))
    world.run(world.now + MINUTE)
    return len(world.mails())


def _with_unreadable(event: Any, names: tuple[str, ...]) -> Any:
    return replace(event, unreadable=names)


def test_a_refund_that_lists_every_item_is_full(world: World) -> None:
    assert confirmations(world, {"products": (MUG, TEA)}) == 0


def test_a_refund_of_one_item_is_not_full(world: World) -> None:
    assert confirmations(world, {"products": (MUG,)}) == 1


def test_refunds_that_together_give_back_every_item_are_full(world: World) -> None:
    assert confirmations(world, {"products": (MUG,)}, {"products": (TEA,)}) == 0


def test_one_item_given_back_twice_does_not_stand_for_the_other(world: World) -> None:
    assert confirmations(world, {"products": (MUG,)}, {"products": (MUG,)}) == 1


@pytest.mark.parametrize("field", ["total", "products"])
def test_what_cannot_be_read_of_a_refund_is_not_taken_for_a_full_one(world: World, field: str) -> None:
    assert confirmations(world, {}, unreadable=(field,)) == 1
