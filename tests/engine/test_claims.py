"""Claims and what follows them: every end of a send, as workers, a second worker and an operator bring it about.

Each was an experiment that broke an earlier engine.
"""

from __future__ import annotations

from typing import Any, cast

import pytest
from msgspec.structs import replace
from redis import Redis

from catalog import TRIGGERS
from freshgate.errors import EspError
from freshgate.state import keys
from freshgate.state.store import fcall
from tests.engine.world import HOUR, MINUTE, PII_KEY, SHOP, World, product
from tests.harness.operator import Operator
from workers.esp.base import Message
from workers.gate import decide

ADA = "ada@example.com"
LEASE_LOST_MS = 16_000


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


@pytest.fixture
def operator(world: World, redis_server: str) -> Operator:
    return Operator(world, redis_server)


def order_of(world: World, user: str = "ada", email: str = ADA, order_id: str = "1") -> str:
    """An order is recorded; the timer of its confirmation."""
    world.record(world.event("Order Completed", user=user, email=email, order_id=order_id))
    return keys.timer("order_confirmation", "o", keys.order_id("main", order_id))


def stall_while_another_worker_finds_the_claim(world: World, timer: str) -> None:
    """The call takes longer than the claim holds; meanwhile the timer fires for somebody else."""
    other = world.new_courier()

    def stalls(_message: Message) -> None:
        world.now += LEASE_LOST_MS
        world.esp.before_send = None
        world.deliver(timer, courier=other)

    world.esp.before_send = stalls


def claim_due(world: World, at: int = 0, lease_ms: int = 30_000) -> list[tuple[str, int]]:
    """Lease what is due by `at` (ms; in a minute if 0), as a timers process does; returns (timer, due)."""
    _, _, *flat = fcall(world.client, "claim_due", SHOP, at or world.now + MINUTE, 100, lease_ms)
    return [(flat[i].decode(), int(flat[i + 1])) for i in range(0, len(flat), 3)]


def test_whoever_finds_a_send_claimed_leaves_nothing_behind_once_it_has_ended(world: World) -> None:
    timer = order_of(world)
    other = world.new_courier()

    def takes_long(_message: Message) -> None:
        world.esp.before_send = None
        world.deliver(timer, courier=other)

    world.esp.before_send = takes_long
    world.deliver(timer)
    assert world.due_timers(world.now + HOUR) == []
    assert [state for _, state in world.outcomes("ada")] == ["moved", "sent"]


def test_whoever_learns_of_a_claim_that_has_ended_meanwhile_sets_no_timer(world: World) -> None:
    timer = order_of(world)
    late = world.new_courier()
    before = world.records(timer)

    def read(_message: Message) -> None:
        nonlocal before
        before = world.records(timer)

    world.esp.before_send = read
    world.deliver(timer)
    decision = decide(world.triggers["order_confirmation"], before, world.now)
    assert decision.reason == "claimed_elsewhere"
    late._ledger.defer(before, decision)
    late._ledger.flush()
    assert world.due_timers(world.now + HOUR) == []
    assert [state for _, state in world.outcomes("ada")] == ["sent"]


def test_an_unknown_send_that_turns_out_sent_leaves_the_list_and_is_not_resent(
    world: World, operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    timer = order_of(world)
    stall_while_another_worker_finds_the_claim(world, timer)
    world.deliver(timer)
    assert world.outcomes("ada") == [("order_confirmation", "unknown"), ("order_confirmation", "sent")]
    # Without what the engine logged before.
    capsys.readouterr()
    operator.run("unknown", "list")
    assert capsys.readouterr().out == "0 unknown\n"
    operator.run("unknown", "resend")
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]


def test_an_unknown_send_that_turns_out_retried_and_sent_is_not_resent(world: World, operator: Operator) -> None:
    timer = order_of(world)
    stall_while_another_worker_finds_the_claim(world, timer)
    world.esp.errors = [EspError("not sent: the name was resolved after 16 s")]
    world.deliver(timer)
    world.run(world.now + MINUTE)
    operator.run("unknown", "resend")
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]


def test_resending_acts_on_the_state_that_is_there_not_on_the_list_that_was_read(
    world: World, operator: Operator, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    timer = order_of(world)
    world.esp.errors = [EspError("connection lost", ambiguous=True)]
    world.deliver(timer)
    (entry,) = cast(list[bytes], redis.zrange(keys.operator_list("main", "unknown"), 0, -1))
    owner, _, field, _ = entry.decode().split(" ")
    claim: Any = redis.hget(SHOP + owner, field)
    # Between the operator's reading of the list and the command, the send came to its end.
    redis.hset(SHOP + owner, field, claim.replace(b"unknown", b"sent", 1))
    assert operator.run("unknown", "resend") == 1
    assert "nothing done: it is sent by now" in capsys.readouterr().out
    world.run(world.now + MINUTE)
    assert world.mails() == []


@pytest.mark.parametrize("lease_lost", [False, True])
def test_retries_after_a_lost_lease_are_no_crashes(world: World, redis: Redis, lease_lost: bool) -> None:
    order_of(world)
    world.esp.errors = [EspError("503", status=503) for _ in range(6)]
    if lease_lost:
        claim_due(world, lease_ms=-1)
    for _ in range(7):
        for timer, due in claim_due(world, world.now + 20 * MINUTE):
            world.now = max(world.now + 1000, due)
            world.deliver(timer)
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_send_that_takes_its_worker_down_three_times_is_given_up(world: World, redis: Redis) -> None:
    order_of(world)
    world.esp.before_send = lambda _message: pytest.fail("never called")
    for _ in range(3):
        # Claimed by a worker that dies before it brings the send to a state.
        claim_due(world, lease_ms=-1)
        for timer, _ in claim_due(world, lease_ms=-1):
            redis.hincrby(f"{SHOP}begun", timer, 1)
    for timer, _ in claim_due(world):
        world.deliver(timer)
    assert world.outcomes("ada") == [("order_confirmation", "dead")]


def test_retry_after_binds_a_second_job_of_the_same_send(world: World) -> None:
    timer = order_of(world)
    calls: list[int] = []
    world.esp.before_send = lambda _message: calls.append(world.now)
    world.esp.errors = [EspError("429", retry_after_s=3600, status=429)]
    world.deliver(timer)
    world.now += 1000
    world.deliver(timer)
    world.now += 1000
    world.deliver(timer)
    assert len(calls) == 1
    world.run(world.now + 2 * HOUR)
    assert [(at - calls[0]) >= 3_600_000 for at in calls] == [False, True]
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_fault_in_compose_is_told_on_the_trail_and_never_called_unknown(redis: Redis) -> None:
    def compose(_person: Any, _order: Any) -> dict[str, Any]:
        raise KeyError("plan")

    broken = [replace(t, compose=compose) if t.name == "order_confirmation" else t for t in TRIGGERS]
    world = World(redis, broken)
    timer = order_of(world)
    world.deliver(timer)
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
    world.deliver(*items)
    assert world.mails() == [("order_confirmation", ADA)]


def test_hold_stops_the_next_mail_of_a_job_that_is_under_way(world: World, operator: Operator) -> None:
    items = [order_of(world, f"u{number}", f"u{number}@example.com", str(number)) for number in range(8)]

    def hold(_message: Message) -> None:
        if len(world.esp.mails) == 2:
            operator.run("hold")

    world.esp.before_send = hold
    world.deliver(*items)
    # The mail that was on its way to the ESP leaves; no other does.
    assert len(world.mails()) == 3
    world.esp.before_send = None
    operator.run("release")
    world.run(world.now + MINUTE)
    assert len(world.mails()) == 8


def test_a_send_given_up_without_a_claim_is_replayed_within_the_age_that_the_operator_allows(
    world: World, operator: Operator, redis: Redis
) -> None:
    timer = order_of(world)
    redis.hset(f"{SHOP}begun", timer, "2")
    world.deliver(timer)
    assert world.outcomes("ada") == [("order_confirmation", "dead")]
    world.now += 30 * HOUR
    assert operator.run("dead", "replay", "--max-age", "3d") == 0
    world.run(world.now + MINUTE)
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_worker_that_was_overtaken_does_not_take_the_other_workers_mail_out_of_the_cap(redis: Redis) -> None:
    world = World(redis, [replace(t, unknown="resend", address_cap=(1, 2 * HOUR)) for t in TRIGGERS])
    world.record(world.event("Signed Up", user="ada", email=ADA))
    ((timer, _),) = world.due_timers(world.now + HOUR)
    other = world.new_courier()

    def stalls(_message: Message) -> None:
        world.now += LEASE_LOST_MS
        world.esp.before_send = None
        world.deliver(timer, courier=other)
        # The other worker's mail left; ours is refused.
        world.esp.errors = [EspError("503", status=503)]

    world.esp.before_send = stalls
    world.deliver(timer)
    address = keys.address("main", keys.address_id(PII_KEY, ADA))
    assert redis.hget(address, "mails") is not None
    world.record(world.event("Product Added", user="bob", email=ADA, product=product("t")))
    world.run(world.now + HOUR)
    assert world.mails() == [("welcome", ADA)]


def test_a_timer_whose_order_is_gone_ends_alone(world: World, redis: Redis) -> None:
    world.record(world.event("Signed Up", user="ada", email=ADA))
    gone = keys.timer("order_confirmation", "o", keys.order_id("main", "gone"))
    redis.zadd(keys.timers("main", "order_confirmation"), {gone: world.now})
    redis.sadd(f"{SHOP}triggers", "order_confirmation")
    world.deliver(*[timer for timer, _ in world.due_timers(world.now + HOUR)])
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
    timer = order_of(world)
    del world.triggers["order_confirmation"]
    world.run(world.now + 2 * HOUR)
    assert timer not in dict(world.due_timers(world.now + 24 * HOUR))
