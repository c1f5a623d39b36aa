"""The process dies at the k-th command or call, for each k; the CDP retries; each mail goes out once or is unknown.

Death is simulated in process: a call raises what nothing catches, before or after it took effect; then all objects are
built again on the same Redis.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from redis import Redis
from redis.client import Pipeline

from freshgate.events import Event
from freshgate.state import keys
from tests.engine.world import HOUR, MINUTE, RememberingEsp, World, product
from workers.esp.base import Message, SendResult

ADA = "ada@example.com"


class Death(BaseException):
    """Ends the process: no `except Exception` catches it."""


class Dying:
    """Counts each trip to Redis and each ESP call; dies at the k-th, before or after it took effect."""

    def __init__(self, at: int, after: bool) -> None:
        self.at, self.after, self.count = at, after, 0

    def call(self, function: Callable[[], Any]) -> Any:
        self.count += 1
        if self.count == self.at and not self.after:
            raise Death
        result = function()
        if self.count == self.at and self.after:
            raise Death
        return result


class DyingPipeline(Pipeline):
    dying: Dying

    def execute(self, raise_on_error: bool = True) -> Any:
        return self.dying.call(lambda: super(DyingPipeline, self).execute(raise_on_error))


class DyingRedis(Redis):
    dying: Dying

    def execute_command(self, *args: Any, **options: Any) -> Any:
        return self.dying.call(lambda: super(DyingRedis, self).execute_command(*args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        pipe = DyingPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipe.dying = self.dying
        return pipe


class DyingEsp(RememberingEsp):
    def __init__(self, dying: Dying) -> None:
        super().__init__()
        self.dying = dying

    def send(self, message: Message) -> SendResult:
        result: SendResult = self.dying.call(lambda: RememberingEsp.send(self, message))
        return result


def build_steps(world: World) -> list[Callable[[], Any]]:
    """Steps to run in order: each is one request, or a moment at which timers and jobs run."""
    events = [
        [world.event("Product Added", anon="x", product=product("a"))],
        [
            world.event("Identify", user="ada", anon="x", email=ADA),
            world.event("Order Completed", user="bob", order_id="7", order_email="bob@example.com"),
        ],
        [world.event("Signed Up", user="eve", email="eve@example.com")],
    ]
    steps = [partial(world.record, *batch) for batch in events]
    # The last run is later than any lease or claim, so it finds what the dead process had claimed.
    return [*steps, lambda: world.run(world.now + 35 * MINUTE), lambda: world.run(world.now + HOUR)]


WANTED = [("abandoned_cart", ADA), ("order_confirmation", "bob@example.com"), ("welcome", "eve@example.com")]


def run_and_die(redis: Redis, server: str, at: int, after: bool) -> tuple[World, Dying]:
    """Run all steps and die once, at call number `at`; the interrupted step is repeated, as CDP and timers do."""
    redis.flushdb()
    dying = Dying(at, after)
    client: Any = DyingRedis.from_url(server)
    client.dying = Dying(0, False)
    esp = DyingEsp(dying)
    world = World(client, esp=esp)
    client.dying = dying
    for step in build_steps(world):
        try:
            step()
        except Death:
            # A new process remembers nothing.
            fresh = World(client, esp=esp)
            fresh.now, fresh._event_count = world.now, world._event_count
            world.receiver, world.courier = fresh.receiver, world.new_courier()
            step()
    return world, dying


def sent_or_unknown(world: World) -> list[str]:
    mails = world.mails()
    assert len(mails) == len(set(mails)), f"twice: {mails}"
    entries: list[Any] = [entry for entry in world.client.zrange(keys.operator_list("main", "unknown"), 0, -1)]
    unknown = [bytes(entry).decode().split(" ")[1].partition("|")[0] for entry in entries]
    return sorted([name for name, _ in mails] + [name for name in unknown if name not in dict(mails)])


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_dying_at_any_command_or_call_neither_loses_nor_doubles_a_mail(
    redis: Redis, redis_server: str, after: bool
) -> None:
    world, dying = run_and_die(redis, redis_server, 0, after)
    assert sorted(world.mails()) == WANTED
    total = dying.count
    assert total > 20
    for at in range(1, total + 1):
        world, _ = run_and_die(redis, redis_server, at, after)
        assert sent_or_unknown(world) == [name for name, _ in WANTED], f"died at {at} of {total}"


def build_requests(world: World) -> list[list[Event]]:
    """A device buys what it put into its cart; its user, who gets another name and has another device, opts out."""
    at = world.now
    return [
        [world.event("Product Added", anon="x", product=product("tea"), at=at)],
        [world.event("Identify", user="u", email=ADA, at=at + 1)],
        [world.event("Order Completed", anon="x", order_id="1", products=(product("tea"),), at=at + 2)],
        [world.event("Unsubscribed", user="u", at=at + 3)],
        [world.event("Page", user="u", anon="x", at=at + 4)],
        [world.event("Alias", user="v", previous_id="u", at=at + 5)],
        [
            world.event("Identify", anon="phone", email=ADA, at=at + 6),
            world.event("Product Added", anon="phone", product=product("mug"), at=at + 7),
        ],
    ]


def post_and_die(redis: Redis, server: str, at: int, after: bool, late: int) -> tuple[World, Dying]:
    """Post all requests and die once, at call number `at`; the CDP repeats what was cut off after `late` others."""
    redis.flushdb()
    dying = Dying(at, after)
    client: Any = DyingRedis.from_url(server)
    client.dying = Dying(0, False)
    world = World(client, esp=DyingEsp(dying))
    waiting = build_requests(world)
    client.dying = dying
    while waiting:
        events = waiting.pop(0)
        try:
            world.record(*events)
        except Death:
            world.receiver = World(client).receiver
            world.receiver.recorder._clock = lambda: world.now
            waiting.insert(min(late, len(waiting)), events)
    for minutes in (35, 120):
        try:
            world.run(world.now + minutes * MINUTE)
        except Death:
            world.courier = world.new_courier()
            world.run(world.now + minutes * MINUTE)
    return world, dying


@pytest.mark.parametrize("late", [0, 1, 9], ids=["at once", "after one other", "after all others"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_what_the_cdp_repeats_late_changes_neither_state_nor_mails(
    redis: Redis, redis_server: str, after: bool, late: int
) -> None:
    world, dying = post_and_die(redis, redis_server, 0, after, late)
    total = dying.count
    state = world.state("u")
    assert world.mails() == [("order_confirmation", ADA)]
    for at in range(1, total + 1):
        world, _ = post_and_die(redis, redis_server, at, after, late)
        assert sent_or_unknown(world) == ["order_confirmation"], f"died at {at} of {total}"
        assert world.state("u") == state, f"died at {at} of {total}"
