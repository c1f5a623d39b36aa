"""The process dies at the k-th command or call, for each k, while several lanes have calls under way.

Death is simulated in process: from then on whatever any lane does raises what nothing catches. Calls that were under
way have reached the ESP, or not. Afterwards each mail went out once, or is unknown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from redis import Redis
from redis.client import Pipeline

from freshgate.queue import Item, Job
from freshgate.state import keys
from tests.engine.world import HOUR, MINUTE, SHOP, RememberingEsp, World
from workers.calls import WaitingForEsp
from workers.courier import Courier
from workers.esp.base import Message, SendResult
from workers.lanes import Lanes
from workers.line import QueuedJob

ORDERS, LANES = 8, 4
CONFIRMATION = "order_confirmation"


class Death(SystemExit):
    """Ends the thread: no `except Exception` catches it, and Python prints nothing."""


class Life:
    """Counts trips to Redis and ESP calls of all lanes; at the k-th, before or after it took effect, all ends."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at, self.after, self.count = at, after, 0
        self.is_over = threading.Event()
        self._lock = threading.Lock()

    def call(self, function: Callable[[], Any]) -> Any:
        with self._lock:
            self.require()
            self.count += 1
            is_last = self.count == self.at
            if is_last and not self.after:
                self.end()
        result = function()
        if is_last:
            self.end()
        self.require()
        return result

    def end(self) -> None:
        self.is_over.set()
        raise Death

    def require(self) -> None:
        if self.is_over.is_set():
            raise Death


class MortalPipeline(Pipeline):
    life: Life

    def execute(self, raise_on_error: bool = True) -> Any:
        return self.life.call(lambda: super(MortalPipeline, self).execute(raise_on_error))


class MortalRedis(Redis):
    life: Life

    def execute_command(self, *args: Any, **options: Any) -> Any:
        return self.life.call(lambda: super(MortalRedis, self).execute_command(*args, **options))

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Any:
        pipe = MortalPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
        pipe.life = self.life
        return pipe


class MeetingEsp(RememberingEsp):
    """Answers a call once all lanes have one under way, or no more can come. Half of the calls arrive at once, the
    others with their answer."""

    def __init__(self, life: Life, calls: int) -> None:
        super().__init__()
        self.life, self.expected, self.under_way, self.max_under_way = life, calls, 0, 0
        self._changed = threading.Condition()

    def send(self, message: Message) -> SendResult:
        return self.send_batch([message])[0]

    def send_batch(self, messages: Sequence[Message]) -> list[SendResult]:
        result: list[SendResult] = self.life.call(lambda: self._take(messages))
        return result

    def _take(self, messages: Sequence[Message]) -> list[SendResult]:
        with self._changed:
            arrives_at_once = self.expected % 2 == 0
            self.expected -= 1
            self.under_way += 1
            self.max_under_way = max(self.max_under_way, self.under_way)
            if arrives_at_once:
                self.mails += messages
            self._changed.notify_all()
            # The last ones wait for nobody.
            while not (self.under_way >= LANES or self.expected <= 0 or self.is_released):
                self._changed.wait(0.01)
                self.life.require()
            self.is_released = self.under_way > 1
            self.under_way -= 1
            self.life.require()
            if not arrives_at_once:
                self.mails += messages
        return [SendResult("p", 202)] * len(messages)

    is_released = False


class BatchingEsp(MeetingEsp):
    max_batch = 2


class Bookkeeper:
    def finish(self, jobs: Sequence[QueuedJob], pipe: Any, *, is_idle: bool) -> None: ...

    def fail(self, jobs: Sequence[QueuedJob], *, is_idle: bool) -> None: ...


def run_and_die(redis: Redis, server: str, life: Life, esp: MeetingEsp) -> World:
    """Orders are sent by lanes until the death; then a new process does what is left."""
    redis.flushdb()
    world = World(redis, esp=esp)
    world.record(
        *(
            world.event("Order Completed", user=f"u{n}", email=f"u{n}@example.com", order_id=f"{n}")
            for n in range(ORDERS)
        )
    )
    client: Any = MortalRedis.from_url(server)
    client.life = life

    def build(waiting: WaitingForEsp) -> Courier:
        lookup = world.lookup()
        lookup._client = client
        return Courier(client, world.triggers, esp, lookup, 10_000, lambda: world.now, batch=2, waiting=waiting)

    lanes = Lanes(build, Bookkeeper(), LANES, "sendgrid")
    timers = [timer for timer, _ in world.due_timers(world.now + MINUTE)]
    for start in range(0, ORDERS, 2):
        sends = tuple(Item(timer) for timer in timers[start : start + 2])
        job = Job(sends=sends, created=world.now, shop="main")
        lanes.submit(QueuedJob(b"job", "queue", False, job, float("inf"), len(sends)))
    while not (lanes.is_idle or life.is_over.is_set()):
        lanes.wait(lambda: lanes.is_idle, 0.01)
    for lane in lanes._lanes:
        if lane.sends:
            lane.join(20)
    life.at, life.is_over = 0, threading.Event()
    esp.is_released, esp.expected = True, 0
    # Later than any claim.
    world.run(world.now + MINUTE)
    world.run(world.now + HOUR)
    return world


def assert_each_mail_went_out_once_or_is_unknown(world: World, max_unknown: int) -> None:
    mails = world.mails()
    assert len(mails) == len(set(mails)), f"twice: {mails}"
    unknown: list[Any] = list(world.client.zrange(keys.operator_list("main", "unknown"), 0, -1))
    assert len(unknown) <= max_unknown
    in_doubt = 0
    for number in range(ORDERS):
        states = [state for _, state in world.outcomes(f"u{number}") if state in ("sent", "unknown")]
        assert len(states) == 1
        in_doubt += states == ["unknown"]
        assert states == ["unknown"] or (CONFIRMATION, f"u{number}@example.com") in mails
    assert in_doubt == len(unknown)
    assert world.due_timers(world.now + HOUR) == []
    assert world.client.zcard(f"{SHOP}leases") == 0


# The lanes that die.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", [MeetingEsp, BatchingEsp], ids=["alone", "batches"])
def test_dying_with_calls_under_way_at_any_command_or_call_neither_loses_nor_doubles_a_mail(
    redis: Redis, redis_server: str, kind: type[MeetingEsp], after: bool
) -> None:
    calls = ORDERS if kind is MeetingEsp else ORDERS // 2
    max_unknown = LANES if kind is MeetingEsp else ORDERS
    life = Life(0, after=after)
    esp = kind(life, calls)
    world = run_and_die(redis, redis_server, life, esp)
    assert len(world.mails()) == ORDERS
    assert esp.max_under_way == LANES
    total = life.count
    assert total > 3 * calls
    for at in range(1, total + 1):
        life = Life(at, after=after)
        world = run_and_die(redis, redis_server, life, kind(life, calls))
        assert_each_mail_went_out_once_or_is_unknown(world, max_unknown)
