"""How many lanes decide at once, and which sends they take: lanes whose courier stands still while it decides."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from prometheus_client import REGISTRY
from redis.exceptions import ReadOnlyError

from freshgate.queue import Item, Job
from freshgate.telemetry import metrics
from tests.workers.test_lanes import Jobs
from workers import lanes as lanes_module
from workers.calls import WaitingForEsp
from workers.courier import BUDGET_S
from workers.lanes import MAX_DECIDING, MORE_DECIDING, Lanes
from workers.line import QueuedJob

ESP = "standing"


class Hall:
    """Lanes that decide until `decide` lets one go on, and call until `answer` does.

    calling  how many calls are under way
    closed   how many connections to the ESP were closed
    """

    def __init__(self, concurrency: int = 32) -> None:
        self.jobs, self.calling, self.built, self.closed = Jobs(), 0, 0, 0
        self._decided, self._answered = threading.Semaphore(0), threading.Semaphore(0)
        self._lock = threading.Lock()
        self.lanes = Lanes(self._build, self.jobs, concurrency, ESP)  # type: ignore[arg-type]  # all that is called

    def _build(self, waiting: WaitingForEsp) -> StandingCourier:
        self.built += 1
        return StandingCourier(self, waiting)

    @property
    def in_use(self) -> float:
        return REGISTRY.get_sample_value("freshgate_lanes_in_use", {"esp": ESP}) or 0

    def submit(self, amount: int, *, marketing: bool = False) -> None:
        for _ in range(amount):
            name = f"{'marketing' if marketing else 'order'}|p:u"
            queued = QueuedJob(
                name.encode(),
                "queue",
                marketing,
                Job(sends=(Item(name),), created=time.time_ns() // 1_000_000, shop="main"),
                time.monotonic() + BUDGET_S,
                1,
            )
            self.lanes.submit(queued)

    def stand(self, waiting: WaitingForEsp) -> None:
        assert self._decided.acquire(timeout=20)
        with waiting(is_call=True):
            with self._lock:
                self.calling += 1
            assert self._answered.acquire(timeout=20)
            with self._lock:
                self.calling -= 1

    def decide(self, amount: int) -> None:
        """So many lanes have decided, and call."""
        expected = self.calling + amount
        self._decided.release(amount)
        self.wait_for(lambda: self.calling == expected)

    def answer(self, amount: int) -> None:
        """So many calls are answered, and their jobs are over."""
        expected = len(self.jobs.finished) + amount
        self._answered.release(amount)
        self.wait_for(lambda: len(self.jobs.finished) == expected)

    def wait_for(self, is_true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not is_true():
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def finish(self) -> None:
        self._decided.release(1000)
        self._answered.release(1000)
        assert self.lanes.wait(lambda: self.lanes.is_idle, 20)


class StandingCourier:
    batch = 1

    def __init__(self, hall: Hall, waiting: WaitingForEsp) -> None:
        self._hall = hall
        self._waiting = waiting

    def carry_out(
        self,
        job: Job,
        sends: Sequence[tuple[Item, float]],
        finish: Callable[[Any], object],
        aside: object = None,
    ) -> None:
        self._hall.stand(self._waiting)
        finish(None)

    def close(self) -> None:
        self._hall.closed += 1


@pytest.fixture(autouse=True)
def no_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "MAX_CHUNK", 1)


@pytest.fixture
def hall() -> Iterator[Hall]:
    hall = Hall()
    yield hall
    hall.finish()


def test_so_many_decide_at_once_and_a_few_more_where_the_mail_must_not_wait(hall: Hall) -> None:
    hall.submit(20, marketing=True)
    assert hall.in_use == MAX_DECIDING
    hall.submit(20)
    assert hall.in_use == MAX_DECIDING + MORE_DECIDING


def test_of_two_lanes_one_is_kept_for_mails_that_must_not_wait() -> None:
    hall = Hall(concurrency=2)
    hall.submit(3, marketing=True)
    assert hall.in_use == 1
    hall.submit(3)
    assert hall.in_use == 2
    hall.finish()


def test_lanes_of_a_new_process_are_not_in_use() -> None:
    metrics.LANES_IN_USE.labels(ESP).set(5)
    assert Hall().in_use == 0


def test_while_a_lane_calls_another_may_decide(hall: Hall) -> None:
    hall.submit(MAX_DECIDING + 5, marketing=True)
    hall.decide(2)
    assert hall.in_use == MAX_DECIDING + 2
    # Those that have their answer decide once more, on what it means: there is room for no other.
    hall.answer(2)
    hall.wait_for(lambda: hall.in_use == MAX_DECIDING)
    hall.decide(1)
    assert hall.in_use == MAX_DECIDING + 1


def test_lanes_that_have_been_at_rest_are_as_good_as_new_ones(hall: Hall) -> None:
    for _ in range(3):
        hall.submit(MAX_DECIDING, marketing=True)
        assert hall.in_use == MAX_DECIDING
        hall.decide(MAX_DECIDING)
        hall.answer(MAX_DECIDING)
        hall.wait_for(lambda: hall.in_use == 0)
    assert hall.built == MAX_DECIDING


def test_marketing_leaves_lanes_for_others_also_where_lanes_were_at_rest() -> None:
    hall = Hall(concurrency=9)
    for _ in range(2):
        hall.submit(7)
        hall.decide(7)
        hall.answer(7)
        hall.wait_for(lambda: hall.in_use == 0)
        hall.submit(9, marketing=True)
        hall.decide(MAX_DECIDING)
        assert hall.in_use == 7
        hall.decide(1)
        assert hall.in_use == 7
        hall.answer(7)
        hall.decide(2)
        hall.answer(2)
        hall.wait_for(lambda: hall.in_use == 0)
    hall.finish()


def test_the_oldest_work_is_that_of_the_lane_that_began_first(hall: Hall) -> None:
    assert hall.lanes.oldest_started_at() == float("inf")
    began_at = time.monotonic()
    hall.submit(1)
    second_began_at = time.monotonic()
    hall.submit(1)
    assert began_at <= hall.lanes.oldest_started_at() <= second_began_at
    hall.decide(2)
    hall.answer(2)
    hall.wait_for(lambda: hall.in_use == 0)
    assert hall.lanes.oldest_started_at() == float("inf")


def test_connections_of_lanes_at_rest_are_closed_and_those_of_others_stay(hall: Hall) -> None:
    hall.submit(3)
    hall.decide(3)
    hall.answer(2)
    hall.wait_for(lambda: hall.in_use == 1)
    hall.lanes.close()
    assert hall.closed == 2


def test_whoever_waits_for_lanes_hears_of_their_error(hall: Hall) -> None:
    def fail(jobs: Sequence[QueuedJob], *, is_idle: bool) -> None:
        raise ReadOnlyError

    def break_down(waiting: WaitingForEsp) -> None:
        raise ReadOnlyError

    hall.jobs.fail, hall.stand = fail, break_down  # type: ignore[method-assign]  # Redis takes no writes
    hall.submit(1)
    assert hall.lanes.wait(lambda: False, 20)
    assert isinstance(hall.lanes.error, ReadOnlyError)
