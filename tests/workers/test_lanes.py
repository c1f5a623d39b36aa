"""Lanes: how many calls are under way at once, what shares a call, what becomes of jobs. A real Redis, a fake ESP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis import Redis

from freshgate.errors import EspError
from freshgate.queue import Item, Job
from tests.engine.world import SHOP, RememberingEsp, World
from workers import lanes as lanes_module
from workers.calls import WaitingForEsp
from workers.courier import BUDGET_S, Courier
from workers.esp.base import Message, SendResult
from workers.lanes import Lanes
from workers.line import QueuedJob


class GatedEsp(RememberingEsp):
    """An ESP whose calls wait until the test lets them through. Shared by all lanes, as a server is.

    calls  the addresses of each call, in the order in which they begin
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[str]] = []
        self.open = threading.Event()
        self.refuses: Callable[[Sequence[Message]], EspError | None] = lambda messages: None
        self._lock = threading.Lock()

    def send(self, message: Message) -> SendResult:
        return self.take([message])[0]

    def take(self, messages: Sequence[Message]) -> list[SendResult]:
        with self._lock:
            self.calls.append([message.to for message in messages])
        assert self.open.wait(20)
        error = self.refuses(messages)
        if error:
            raise error
        with self._lock:
            self.mails += messages
        return [SendResult("p", 202)] * len(messages)


class BatchingEsp(GatedEsp):
    max_batch = 1000

    def send_batch(self, messages: Sequence[Message]) -> list[SendResult]:
        return self.take(messages)


class Jobs:
    """Remembers what became of the jobs."""

    def __init__(self) -> None:
        self.finished: list[bytes] = []
        self.failed: list[bytes] = []
        self.idle: list[bool] = []

    def finish(self, jobs: Sequence[QueuedJob], pipe: Any, *, is_idle: bool) -> None:
        self.finished += [queued.id for queued in jobs]
        self.idle.append(is_idle)

    def fail(self, jobs: Sequence[QueuedJob], *, is_idle: bool) -> None:
        self.failed += [queued.id for queued in jobs]
        self.idle.append(is_idle)


class Hall:
    """A world whose sends are carried out by lanes."""

    def __init__(self, redis: Redis, esp: GatedEsp, concurrency: int = 4, batch: int = 100) -> None:
        self.world, self.esp, self.jobs, self.batch = World(redis, esp=esp), esp, Jobs(), batch
        self.lanes = Lanes(self.build, self.jobs, concurrency, "sendgrid")

    def build(self, waiting: WaitingForEsp) -> Courier:
        world = self.world
        return Courier(
            world.client,
            world.triggers,
            self.esp,
            world.lookup(),
            10_000,
            lambda: world.now,
            batch=self.batch,
            waiting=waiting,
        )

    def order(self, *numbers: int, marketing: bool = False) -> None:
        """One job with the confirmations of these orders; as if they were marketing, if so set."""
        world = self.world
        events = [
            world.event("Order Completed", user=f"u{number}", email=f"u{number}@example.com", order_id=f"{number}")
            for number in numbers
        ]
        before = {timer for timer, _ in world.due_timers(world.now + 60_000)}
        world.record(*events)
        timers = [timer for timer, _ in world.due_timers(world.now + 60_000) if timer not in before]
        self.submit(tuple(Item(timer) for timer in timers), f"job-{numbers[0]}", marketing=marketing)

    def submit(self, sends: tuple[Item, ...], name: str = "job", *, marketing: bool = False) -> None:
        job = Job(sends=sends, created=self.world.now, shop="main")
        expires_at = time.monotonic() + BUDGET_S
        self.lanes.submit(QueuedJob(name.encode(), "queue", marketing, job, expires_at, len(sends)))

    def wait_for(self, is_true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not is_true():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def finish(self) -> None:
        self.esp.open.set()
        assert self.lanes.wait(lambda: self.lanes.is_idle, 20)


@pytest.fixture
def hall(redis: Redis) -> Iterator[Hall]:
    hall = Hall(redis, GatedEsp())
    yield hall
    hall.finish()


@pytest.fixture
def batches(redis: Redis) -> Iterator[Hall]:
    hall = Hall(redis, BatchingEsp())
    yield hall
    hall.finish()


def test_orders_of_several_jobs_are_called_for_at_once_and_never_more_than_the_concurrency(hall: Hall) -> None:
    for number in range(6):
        hall.order(number)
    hall.wait_for(lambda: len(hall.esp.calls) == 4)
    assert hall.jobs.finished == []
    hall.finish()
    assert sorted(hall.jobs.finished) == [f"job-{number}".encode() for number in range(6)]
    assert len(hall.esp.mails) == 6
    assert hall.jobs.idle[-1]


def test_a_job_of_many_is_spread_over_lanes_and_ends_once(hall: Hall) -> None:
    hall.order(*range(7))
    hall.wait_for(lambda: len(hall.esp.calls) == 4)
    hall.finish()
    assert sorted(message.to for message in hall.esp.mails) == [f"u{number}@example.com" for number in range(7)]
    assert hall.jobs.finished == [b"job-0"]


def test_there_is_room_for_about_one_call_each_beyond_what_is_under_way(hall: Hall) -> None:
    assert hall.lanes.room(marketing=False) == 4
    hall.order(*range(10))
    hall.wait_for(lambda: len(hall.esp.calls) == 4)
    assert hall.lanes.room(marketing=False) == 4 - 6
    hall.finish()
    assert hall.lanes.room(marketing=False) == 4


def test_one_waiting_send_leaves_at_once_and_alone(batches: Hall) -> None:
    batches.order(1)
    batches.wait_for(lambda: batches.esp.calls == [["u1@example.com"]])


def test_while_all_lanes_are_busy_sends_gather_and_leave_in_one_call(batches: Hall) -> None:
    for number in range(4):
        batches.order(number)
        batches.wait_for(lambda number=number: len(batches.esp.calls) == number + 1)  # type: ignore[misc]
    for number in range(4, 30):
        batches.order(number)
    batches.finish()
    assert [len(call) for call in batches.esp.calls] == [1, 1, 1, 1, 26]
    assert len(batches.jobs.finished) == 30 and len(batches.world.esp.mails) == 30


def test_a_batch_is_never_larger_than_the_setting(redis: Redis) -> None:
    hall = Hall(redis, BatchingEsp(), batch=7)
    hall.order(*range(20))
    hall.finish()
    assert max(len(call) for call in hall.esp.calls) == 7
    assert len(hall.esp.mails) == 20


@pytest.mark.parametrize("bad", [[0], [12], [19], [3, 4], [0, 7, 19], list(range(20))])
def test_a_bad_recipient_is_found_in_halves_and_the_neighbours_leave_once(redis: Redis, bad: list[int]) -> None:
    hall = Hall(redis, BatchingEsp())
    addresses = {f"u{number}@example.com" for number in bad}

    def refuse(messages: Sequence[Message]) -> EspError | None:
        is_bad = any(message.to in addresses for message in messages)
        return EspError("sendgrid: 400", permanent=True, status=400) if is_bad else None

    hall.esp.refuses = refuse
    hall.order(*range(20))
    hall.finish()
    mailed = sorted(message.to for message in hall.esp.mails)
    assert mailed == sorted({f"u{number}@example.com" for number in range(20)} - addresses)
    for number in range(20):
        state = "rejected" if number in bad else "sent"
        assert hall.world.outcomes(f"u{number}") == [("order_confirmation", state)]
    assert hall.world.due_timers(hall.world.now + 10**9) == []


@pytest.mark.parametrize(("status", "calls_that_failed"), [(None, 0), (400, 3)])
def test_a_batch_that_nobody_was_called_for_is_not_a_failed_call(
    redis: Redis, status: int | None, calls_that_failed: int
) -> None:
    """Mailchimp Transactional takes no two mails with headers of their own: the account itself says so."""
    hall = Hall(redis, BatchingEsp())
    together = EspError("they do not share a call", permanent=True, status=status)
    hall.esp.refuses = lambda messages: together if len(messages) > 1 else None

    def failed() -> float:
        name, labels = "freshgate_esp_call_seconds_count", {"esp": "sendgrid", "result": "error"}
        return REGISTRY.get_sample_value(name, labels) or 0

    before = failed()
    hall.order(*range(4))
    hall.finish()
    assert len(hall.esp.mails) == 4
    assert failed() - before == calls_that_failed


def test_an_ambiguous_answer_makes_exactly_that_calls_sends_unknown(redis: Redis) -> None:
    hall = Hall(redis, BatchingEsp(), batch=10)
    doubtful: list[str] = []

    def drop(messages: Sequence[Message]) -> EspError | None:
        if doubtful or len(messages) < 10:
            return None
        doubtful.extend(message.to for message in messages)
        return EspError("dropped", ambiguous=True)

    hall.esp.refuses = drop
    hall.order(*range(30))
    hall.finish()
    assert len(doubtful) == 10
    for number in range(30):
        state = "unknown" if f"u{number}@example.com" in doubtful else "sent"
        assert hall.world.outcomes(f"u{number}") == [("order_confirmation", state)]


def test_an_esp_file_that_forgets_an_answer_leaves_its_call_unsettled(redis: Redis) -> None:
    class Forgetful(BatchingEsp):
        def take(self, messages: Sequence[Message]) -> list[SendResult]:
            return super().take(messages)[1:]

    hall = Hall(redis, Forgetful())
    hall.order(1, 2, 3)
    hall.finish()
    # Nobody knows whose answer is missing.
    assert [hall.world.outcomes(f"u{number}") for number in (1, 2, 3)] == [[("order_confirmation", "failed")]] * 3


def test_a_busy_esp_brings_back_each_send_of_the_batch(redis: Redis) -> None:
    hall = Hall(redis, BatchingEsp())
    hall.esp.refuses = lambda messages: EspError("429", retry_after_s=7, status=429)
    hall.order(*range(5))
    hall.finish()
    dues = hall.world.due_timers(hall.world.now + 60_000)
    assert len(dues) == 5 and all(due >= hall.world.now + 7000 for _, due in dues)


def test_what_moves_on_between_reading_and_claiming_is_gated_anew_and_the_rest_of_the_batch_leaves(
    redis: Redis,
) -> None:
    hall = Hall(redis, BatchingEsp())
    world = hall.world
    lookup, build = world.lookup(), hall.build
    cancelled = world.event("Order Cancelled", user="u3", order_id="3")
    read = lookup.read

    def read_and_cancel(*arguments: Any, **options: Any) -> Any:
        result = read(*arguments, **options)
        lookup.read = read  # type: ignore[method-assign]  # the first reading only
        world.record(cancelled)
        return result

    lookup.read = read_and_cancel  # type: ignore[method-assign]  # the moment of the race
    world.lookup = lambda: lookup  # type: ignore[method-assign]
    hall.lanes = Lanes(build, hall.jobs, 1, "sendgrid")
    hall.order(*range(6))
    hall.finish()
    assert [len(call) for call in hall.esp.calls] == [5]
    assert world.outcomes("u3") == [("order_confirmation", "superseded")]


def test_the_same_send_twice_in_a_batch_leaves_once(batches: Hall) -> None:
    world = batches.world
    world.record(world.event("Order Completed", user="ada", email="ada@example.com", order_id="1"))
    ((timer, _),) = world.due_timers(world.now + 60_000)
    batches.submit((Item(timer), Item(timer)))
    batches.finish()
    assert world.outcomes("ada") == [("order_confirmation", "sent")]
    assert len(batches.esp.mails) == 1


def test_one_that_came_back_shares_no_call(batches: Hall) -> None:
    batches.order(1, 2)
    batches.finish()
    world = batches.world
    world.record(
        *(world.event("Order Completed", user=f"u{n}", email=f"u{n}@example.com", order_id=f"{n}") for n in (3, 4, 5))
    )
    timers = [timer for timer, _ in world.due_timers(world.now + 60_000)]
    batches.submit(tuple(Item(timer, int(number == 1)) for number, timer in enumerate(timers)))
    batches.finish()
    assert sorted(len(call) for call in batches.esp.calls) == [1, 2, 2]


def test_an_esp_file_that_fails_takes_only_its_call_along(redis: Redis) -> None:
    class Broken(GatedEsp):
        def send(self, message: Message) -> SendResult:
            if message.to == "u2@example.com":
                raise RuntimeError("a fault of our own")
            return super().send(message)

    hall = Hall(redis, Broken())
    hall.order(1, 2, 3)
    hall.finish()
    assert sorted(message.to for message in hall.esp.mails) == ["u1@example.com", "u3@example.com"]
    assert [state for _, state in hall.world.outcomes("u2")] == ["failed"]
    ((_, due),) = hall.world.due_timers(hall.world.now + 60_000)
    assert due == hall.world.now + 30_000


def test_what_has_waited_past_its_budget_goes_back_to_the_timers(hall: Hall) -> None:
    hall.order(*range(6))
    hall.wait_for(lambda: len(hall.esp.calls) == 4)
    hall.lanes.expire(time.monotonic())
    hall.finish()
    assert len(hall.esp.mails) == 4
    assert len(hall.world.due_timers(hall.world.now)) == 2
    assert hall.jobs.finished == [b"job-0"]


def test_a_job_on_which_redis_fails_is_listed_as_failed_and_its_sends_come_back(hall: Hall) -> None:
    hall.world.client.set(f"{SHOP}timers:welcome", "no sorted set")
    hall.submit((Item("welcome|p:u1"),), "broken")
    hall.wait_for(lambda: hall.jobs.failed == [b"broken"])
    hall.order(1)
    hall.finish()
    assert hall.jobs.finished == [b"job-1"]


def test_marketing_never_takes_the_last_lanes(redis: Redis) -> None:
    hall = Hall(redis, GatedEsp(), concurrency=9)
    hall.order(*range(20), marketing=True)
    hall.wait_for(lambda: len(hall.esp.calls) == 7)
    # Two of nine are for what must not wait; of two lanes that begin, either may call first.
    for number in (20, 21, 22):
        hall.order(number)
    hall.wait_for(lambda: len(hall.esp.calls) == 9)
    assert sorted(hall.esp.calls[7:]) == [["u20@example.com"], ["u21@example.com"]]
    hall.finish()
    assert len(hall.esp.mails) == 23


def test_with_a_single_lane_marketing_leaves_too(redis: Redis) -> None:
    hall = Hall(redis, GatedEsp(), concurrency=1)
    hall.order(*range(3), marketing=True)
    hall.finish()
    assert len(hall.esp.mails) == 3


def test_what_waits_leaves_before_marketing_that_waited_longer_but_for_its_turns(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes_module, "MAX_CHUNK", 1)
    hall = Hall(redis, GatedEsp(), concurrency=1)
    hall.order(0)
    hall.wait_for(lambda: len(hall.esp.calls) == 1)
    hall.order(*range(100, 110), marketing=True)
    hall.order(*range(1, 25))
    hall.finish()
    order = [int(address[1:].partition("@")[0]) for (address,) in hall.esp.calls]
    first_marketing = [position for position, number in enumerate(order) if number >= 100][:3]
    # One turn of seven is marketing's, so that it never waits without end.
    assert [later - earlier for earlier, later in zip(first_marketing, first_marketing[1:], strict=False)] == [7, 7]


def test_each_kind_has_room_of_its_own(hall: Hall) -> None:
    hall.order(*range(10), marketing=True)
    hall.wait_for(lambda: len(hall.esp.calls) == 3)
    assert hall.lanes.room(marketing=True) == 4 - 7
    assert hall.lanes.room(marketing=False) == 4
