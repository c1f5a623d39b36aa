"""The operator's lists hold exactly the sends that are in that state; commands act on the state, not on the list."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from redis import Redis

from catalog import TRIGGERS
from freshgate.errors import EspError, SettingsError
from freshgate.state import keys
from tests.engine.world import HOUR, MINUTE, SHOP, World, product
from tests.harness.operator import Operator
from workers.esp.base import Message

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


@pytest.fixture
def operator(world: World, redis_server: str) -> Operator:
    return Operator(world, redis_server)


def listed(world: World, state: str) -> list[str]:
    """The send ids in one of the operator's lists."""
    entries: Any = world.client.zrange(keys.operator_list("main", state), 0, -1)
    return [entry.decode().rpartition(" ")[2] for entry in entries]


def end_as(world: World, state: str, order_id: str = "1") -> None:
    """An order's confirmation comes to this end."""
    errors = {
        "rejected": EspError("no such template", permanent=True, status=400),
        "unknown": EspError("connection lost", ambiguous=True),
        "dead": EspError("503", status=503, retry_after_s=100_000),
    }
    world.esp.errors = [errors[state]]
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id=order_id))
    world.run()
    assert world.outcomes("ada")[-1] == ("order_confirmation", state)


STATES = [("unknown", "resend"), ("dead", "replay"), ("rejected", "replay")]


@pytest.mark.parametrize(("state", "restart"), STATES)
def test_a_send_is_listed_shown_and_started_again(
    world: World, operator: Operator, state: str, restart: str, capsys: pytest.CaptureFixture[str]
) -> None:
    end_as(world, state)
    (send,) = listed(world, state)
    assert operator.run(state, "list") == 0
    assert send in capsys.readouterr().out
    assert operator.run(state, "show", "--send", send) == 0
    shown = capsys.readouterr().out
    assert state in shown
    assert ADA not in shown
    assert operator.run(state, restart, "--send", send) == 0
    # A mark on the boards: neither `list` nor `show` is one.
    assert world.client.hgetall(keys.OPERATIONS) == {restart.encode(): b"1"}
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]
    assert [listed(world, name) for name in keys.OPERATOR_LISTS] == [[], [], []]


@pytest.mark.parametrize(("state", "restart"), STATES)
def test_a_send_that_is_started_again_twice_is_one_mail(
    world: World, operator: Operator, state: str, restart: str
) -> None:
    end_as(world, state)
    entries: Any = world.client.zrange(keys.operator_list("main", state), 0, -1)
    operator.run(state, restart)
    world.run(world.now + MINUTE)
    # A second operator had read the list before.
    world.client.zadd(keys.operator_list("main", state), {entries[0]: world.now})
    assert operator.run(state, restart) == 1
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA)]
    assert listed(world, state) == []


@pytest.mark.parametrize(("state", "restart"), STATES)
def test_what_is_closed_stays_what_it_is_and_is_not_sent(
    world: World, operator: Operator, state: str, restart: str
) -> None:
    end_as(world, state)
    assert operator.run(state, "close") == 0
    assert operator.run(state, restart) == 0
    # Nothing was left to start again.
    assert world.client.hgetall(keys.OPERATIONS) == {b"close": b"1"}
    world.run(world.now + HOUR)
    assert (world.mails(), listed(world, state)) == ([], [])


@pytest.mark.parametrize(("state", "restart"), STATES)
def test_the_gate_decides_on_what_is_started_again(world: World, operator: Operator, state: str, restart: str) -> None:
    end_as(world, state)
    world.record(world.event("Order Cancelled", user="ada", order_id="1"))
    operator.run(state, restart)
    world.run(world.now + MINUTE)
    assert world.outcomes("ada")[-1] == ("order_confirmation", "superseded")
    assert listed(world, state) == []


def test_what_fails_again_is_listed_again(world: World, operator: Operator) -> None:
    end_as(world, "rejected")
    world.esp.errors = [EspError("no such template", permanent=True, status=400)]
    operator.run("rejected", "replay")
    world.run(world.now + MINUTE)
    assert len(listed(world, "rejected")) == 1
    operator.run("rejected", "replay")
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]


def test_an_age_beyond_what_is_allowed_is_refused_and_said(
    world: World, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    end_as(world, "rejected")
    world.now += 30 * HOUR
    assert operator.run("rejected", "replay") == 1
    assert "--max-age 2d would allow it" in capsys.readouterr().out
    assert len(listed(world, "rejected")) == 1
    assert operator.run("rejected", "replay", "--max-age", "2d") == 0
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]


def test_one_of_several_is_started_again_alone(world: World, operator: Operator) -> None:
    for number in range(3):
        end_as(world, "rejected", str(number))
    first, *others = listed(world, "rejected")
    operator.run("rejected", "replay", "--send", first)
    world.run(world.now + MINUTE)
    assert len(world.mails()) == 1
    assert listed(world, "rejected") == others
    assert operator.run("rejected", "replay", "--send", "nothing") == 1


def test_a_send_that_turns_out_sent_after_its_device_was_linked_leaves_the_list(
    world: World, operator: Operator
) -> None:
    world.record(world.event("Signed Up", anon="x", email=ADA))
    ((timer, _),) = world.due_timers(world.now + HOUR)
    other = world.new_courier()

    def stall(_message: Message) -> None:
        world.esp.before_send = None
        world.now += 16_000
        world.record(world.event("Page", user="ada", anon="x"))
        # Somebody finds the claim, under the person's new name.
        ((renamed, _),) = [entry for entry in world.due_timers(world.now + HOUR) if entry[0].startswith("welcome")]
        assert renamed != timer
        world.deliver(renamed, courier=other)
        assert len(listed(world, "unknown")) == 1

    world.esp.before_send = stall
    world.deliver(timer)
    assert listed(world, "unknown") == []
    operator.run("unknown", "resend")
    world.run(world.now + 25 * HOUR)
    assert world.mails() == [("welcome", ADA)]


def test_a_send_whose_person_was_linked_since_is_started_again_once(world: World, operator: Operator) -> None:
    world.record(world.event("Signed Up", anon="x", email=ADA))
    world.esp.errors = [EspError("no such template", permanent=True, status=400)]
    world.run()
    world.record(world.event("Page", user="ada", anon="x"))
    assert operator.run("rejected", "replay") == 0
    world.run(world.now + MINUTE)
    assert world.mails() == [("welcome", ADA)]
    world.record(world.event("Signed Up", user="ada", email=ADA))
    world.run(world.now + HOUR)
    assert world.mails() == [("welcome", ADA)]


def test_releasing_what_is_not_held_is_an_error(
    operator: Operator, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    assert operator.run("release") == 1
    assert "not held" in capsys.readouterr().out
    assert operator.run("hold", "abandoned_cart") == 0
    assert operator.run("release") == 1
    assert "abandoned_cart" in capsys.readouterr().out
    assert operator.run("release", "abandoned_cart") == 0
    with pytest.raises(SettingsError, match="no such trigger"):
        operator.run("hold", "abandoned_carts")
    assert not redis.exists(keys.HOLD)


def test_what_is_held_waits_and_leaves_if_it_is_still_true(world: World, operator: Operator) -> None:
    for user, email in (("ada", ADA), ("ben", "ben@example.com")):
        world.record(world.event("Product Added", user=user, email=email, product=product("tea")))
    operator.run("hold", "abandoned_cart")
    world.run(world.now + 2 * HOUR)
    assert world.mails() == []
    world.record(world.event("Order Completed", user="ben", order_id="1", products=(product("tea"),)))
    operator.run("release", "abandoned_cart")
    world.run(world.now + HOUR)
    assert sorted(world.mails()) == [("abandoned_cart", ADA), ("order_confirmation", "ben@example.com")]


def test_a_dead_workers_older_claim_takes_no_newer_timer_along(redis: Redis) -> None:
    world = World(redis, [replace(trigger, cap=None) for trigger in TRIGGERS])
    world.record(world.event("Product Added", user="ada", email=ADA, product=product("a")))
    world.now += 31 * MINUTE
    ((timer, _),) = world.due_timers(world.now)
    world.esp.errors = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        world.deliver(timer)
    world.courier = world.new_courier()
    # The next cart comes before anybody found the claim.
    world.record(world.event("Product Added", user="ada", product=product("b")))
    world.run(world.now + 3 * HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]
    assert len(listed(world, "unknown")) == 1
    assert not redis.hgetall(f"{SHOP}begun")
