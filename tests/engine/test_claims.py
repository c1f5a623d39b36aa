"""Claims and what follows them: every end of a send, as workers, a second worker and an operator bring it about.

Each was an experiment that broke an earlier engine.
"""

from __future__ import annotations

import argparse
from typing import Any, cast

import pytest
from msgspec.structs import replace
from redis import Redis

from catalog import TRIGGERS
from freshgate.errors import EspError
from freshgate.queue import Item, Job
from freshgate.settings import Settings
from freshgate.state import keys
from freshgate.state.store import fcall
from tests.engine.world import HOUR, MINUTE, PII_KEY, World, product
from workers import commands
from workers.esp.base import Message

ADA = "ada@example.com"
LEASE_LOST_MS = 16_000


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


class Operator:
    """Runs `python -m workers` commands at the world's time; returns the exit code."""

    def __init__(self, world: World, url: str) -> None:
        self._world = world
        self._settings = Settings(redis_url=url)

    def run(self, *words: str) -> int:
        parser = argparse.ArgumentParser()
        commands.add_commands(parser.add_subparsers(dest="command"))
        return commands.run(self._settings, parser.parse_args(words), self._world.now)


@pytest.fixture
def operator(world: World, redis_server: str) -> Operator:
    return Operator(world, redis_server)


def order_of(world: World, user: str = "ada", email: str = ADA, order_id: str = "1") -> Item:
    """An order is recorded; its confirmation as a job names it."""
    world.record(world.event("Order Completed", user=user, email=email, order_id=order_id))
    member = keys.member("order_confirmation", "o", keys.order_id("main", order_id))
    (due,) = [at for waiting, at in world.due_timers(world.now + HOUR) if waiting == member]
    return Item(member, due)


def deliver(world: World, *items: Item) -> None:
    world.courier.deliver(Job(sends=items, created=world.now))


def stall_while_another_worker_finds_the_claim(world: World, item: Item) -> None:
    """The call takes longer than the claim holds; meanwhile the timer fires for somebody else."""
    other = world.new_courier()

    def stalls(_message: Message) -> None:
        world.now += LEASE_LOST_MS
        world.esp.before_send = None
        other.deliver(Job(sends=(item,), created=world.now))

    world.esp.before_send = stalls


def claim_due(redis: Redis, lease_ms: int = 30_000) -> list[Item]:
    reply: Any = fcall(redis, "fg1_claim_due", keys.all_timers(), 100, lease_ms)
    flat = reply[2]
    return [Item(flat[i].decode(), int(flat[i + 1]), int(flat[i + 2])) for i in range(0, len(flat), 3)]


def test_an_unknown_send_that_turns_out_sent_leaves_the_list_and_is_not_resent(
    world: World, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    item = order_of(world)
    stall_while_another_worker_finds_the_claim(world, item)
    deliver(world, item)
    assert world.outcomes("ada") == [("order_confirmation", "unknown"), ("order_confirmation", "sent")]
    operator.run("unknown", "list")
    assert capsys.readouterr().out == "0 unknown\n"
    operator.run("unknown", "resend")
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]


def test_an_unknown_send_that_turns_out_retried_and_sent_is_not_resent(world: World, operator: Operator) -> None:
    item = order_of(world)
    stall_while_another_worker_finds_the_claim(world, item)
    world.esp.errors = [EspError("not sent: the name was resolved after 16 s")]
    deliver(world, item)
    world.run(world.now + MINUTE)
    operator.run("unknown", "resend")
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]


def test_resending_acts_on_the_state_that_is_there_not_on_the_list_that_was_read(
    world: World, operator: Operator, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    item = order_of(world)
    world.esp.errors = [EspError("connection lost", ambiguous=True)]
    deliver(world, item)
    shard = keys.shard(keys.parse_member(item.member)[2])
    (entry,) = cast(list[bytes], redis.zrange(f"{keys.PREFIX}{shard}:unknown", 0, -1))
    owner, _, field = entry.decode().split(" ", 2)
    claim: Any = redis.hget(owner, field)
    # Between the operator's reading of the list and the command, the send came to its end.
    redis.hset(owner, field, claim.replace(b"unknown", b"sent", 1))
    assert operator.run("unknown", "resend") == 1
    assert "nothing done: it is sent by now" in capsys.readouterr().out
    world.run(world.now + MINUTE)
    assert world.mails() == []


@pytest.mark.parametrize("lease_lost", [False, True])
def test_retries_after_a_lost_lease_are_no_crashes(world: World, redis: Redis, lease_lost: bool) -> None:
    order_of(world)
    world.esp.errors = [EspError("503", status=503) for _ in range(6)]
    if lease_lost:
        claim_due(redis, lease_ms=-1)
    for _ in range(7):
        for item in claim_due(redis):
            world.now = max(world.now + 1000, item.due)
            deliver(world, item)
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_send_that_takes_its_worker_down_three_times_is_given_up(world: World, redis: Redis) -> None:
    order_of(world)
    world.esp.before_send = lambda _message: pytest.fail("never called")
    for _ in range(3):
        # Claimed by a worker that dies before it brings the send to a state.
        claim_due(redis, lease_ms=-1)
        for item in claim_due(redis, lease_ms=-1):
            redis.hincrby(f"{keys.PREFIX}{keys.shard(keys.parse_member(item.member)[2])}:begun", item.member, 1)
    for item in claim_due(redis):
        deliver(world, item)
    assert world.outcomes("ada") == [("order_confirmation", "dead")]


def test_retry_after_binds_a_second_job_of_the_same_send(world: World) -> None:
    item = order_of(world)
    calls: list[int] = []
    world.esp.before_send = lambda _message: calls.append(world.now)
    world.esp.errors = [EspError("429", retry_after_s=3600, status=429)]
    deliver(world, item)
    world.now += 1000
    deliver(world, Item(item.member, world.now + 20_000))
    world.now += 1000
    deliver(world, item)
    assert len(calls) == 1
    world.run(world.now + 2 * HOUR)
    assert [(at - calls[0]) >= 3_600_000 for at in calls] == [False, True]
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_fault_in_compose_is_told_on_the_trail_and_never_called_unknown(redis: Redis) -> None:
    def compose(_person: Any, _order: Any) -> dict[str, Any]:
        raise KeyError("plan")

    broken = [replace(t, compose=compose) if t.name == "order_confirmation" else t for t in TRIGGERS]
    world = World(redis, broken)
    item = order_of(world)
    deliver(world, item)
    (line,) = world.decisions("ada")
    assert line["state"] == "failed"
    assert line["reason"].startswith("KeyError in test_claims.py:")
    # The catalog is mended, and the worker started anew.
    world.triggers["order_confirmation"] = next(t for t in TRIGGERS if t.name == "order_confirmation")
    world.courier = world.new_courier()
    world.run(world.now + MINUTE)
    assert world.outcomes("ada") == [("order_confirmation", "failed"), ("order_confirmation", "sent")]


def test_a_trigger_whose_own_code_always_fails_is_given_up_with_its_reason(
    redis: Redis, redis_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def withdrawn(_person: Any, _order: Any) -> None:
        raise TypeError

    world = World(redis, [replace(t, withdrawn=withdrawn) if t.name == "order_confirmation" else t for t in TRIGGERS])
    order_of(world)
    world.run(world.now + HOUR)
    assert world.outcomes("ada") == [("order_confirmation", "failed")] * 3 + [("order_confirmation", "dead")]
    Operator(world, redis_server).run("dead", "list")
    assert capsys.readouterr().out.endswith("1 dead\n")


def test_a_neighbour_of_a_failing_send_leaves(redis: Redis) -> None:
    def compose(person: Any, _order: Any) -> dict[str, Any]:
        return {"name": {"ada": "Ada"}[person.trait("id")]}

    world = World(redis, [replace(t, compose=compose) if t.name == "order_confirmation" else t for t in TRIGGERS])
    items = [order_of(world, user, f"{user}@example.com", user) for user in ("bob", "ada", "eve")]
    deliver(world, *items)
    assert world.mails() == [("order_confirmation", ADA)]


def test_hold_stops_the_next_mail_of_a_job_that_is_under_way(world: World, operator: Operator) -> None:
    items = [order_of(world, f"u{number}", f"u{number}@example.com", str(number)) for number in range(8)]

    def hold(_message: Message) -> None:
        if len(world.esp.mails) == 2:
            operator.run("hold")

    world.esp.before_send = hold
    deliver(world, *items)
    # The mail that was on its way to the ESP leaves; no other does.
    assert len(world.mails()) == 3
    world.esp.before_send = None
    operator.run("release")
    world.run(world.now + MINUTE)
    assert len(world.mails()) == 8


def test_a_send_given_up_without_a_claim_is_replayed_within_the_age_that_the_operator_allows(
    world: World, operator: Operator, redis: Redis
) -> None:
    item = order_of(world)
    redis.hset(f"{keys.PREFIX}{keys.shard(keys.parse_member(item.member)[2])}:begun", item.member, "2")
    deliver(world, Item(item.member, item.due, 1))
    assert world.outcomes("ada") == [("order_confirmation", "dead")]
    world.now += 30 * HOUR
    assert operator.run("dead", "replay", "--max-age", "3d") == 0
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_worker_that_was_overtaken_does_not_take_the_other_workers_mail_out_of_the_cap(redis: Redis) -> None:
    world = World(redis, [replace(t, unknown="resend", address_cap=(1, 2 * HOUR)) for t in TRIGGERS])
    world.record(world.event("Signed Up", user="ada", email=ADA))
    ((member, due),) = world.due_timers(world.now + HOUR)
    other = world.new_courier()

    def stalls(_message: Message) -> None:
        world.now += LEASE_LOST_MS
        world.esp.before_send = None
        other.deliver(Job(sends=(Item(member, due),), created=world.now))
        # The other worker's mail left; ours is refused.
        world.esp.errors = [EspError("503", status=503)]

    world.esp.before_send = stalls
    deliver(world, Item(member, due))
    address = keys.entity("a", keys.address_id(PII_KEY, ADA))
    assert redis.hget(address, "mails") is not None
    world.record(world.event("Product Added", user="bob", email=ADA, product=product("t")))
    world.run(world.now + HOUR)
    assert world.mails() == [("welcome", ADA)]


def test_a_timer_whose_order_is_gone_ends_alone(world: World) -> None:
    world.record(world.event("Signed Up", user="ada", email=ADA))
    welcome = [Item(member, due) for member, due in world.due_timers(world.now + HOUR)]
    gone = Item(keys.member("order_confirmation", "o", keys.order_id("main", "gone")), world.now)
    deliver(world, *welcome, gone)
    assert world.mails() == [("welcome", ADA)]


def test_a_worker_of_an_older_release_leaves_sends_of_unknown_triggers_to_newer_ones(redis: Redis) -> None:
    hello = replace(next(t for t in TRIGGERS if t.name == "welcome"), name="hello")
    world = World(redis, [*TRIGGERS, hello])
    del world.triggers["hello"]
    world.record(world.event("Signed Up", user="ada", email=ADA))
    world.run(world.now + MINUTE)
    world.triggers["hello"] = hello
    world.courier = world.new_courier()
    world.run(world.now + 5 * MINUTE)
    assert sorted(world.mails()) == [("hello", ADA), ("welcome", ADA)]


def test_sends_of_a_trigger_that_was_removed_are_given_up_in_the_end(world: World) -> None:
    item = order_of(world)
    del world.triggers["order_confirmation"]
    world.run(world.now + 2 * HOUR)
    assert item.member not in dict(world.due_timers(world.now + 24 * HOUR))
