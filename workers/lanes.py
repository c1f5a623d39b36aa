"""Lanes: threads that carry out sends at the same time, each with a connection to the ESP of its own.

`rq_worker.py` submits jobs, `line.py` holds their sends; a lane carries these out with its `courier.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from freshgate.queue import Item
from freshgate.telemetry import logs, metrics
from workers.calls import WaitingForEsp
from workers.courier import Courier
from workers.line import Line, QueuedJob, Waiting

log = logs.get(__name__)

# How many lanes may decide, claim and settle at once: more would only wait for each other, since one thread of Python
# runs at a time, and their claims would age meanwhile.
MAX_DECIDING = 6
# So many more may, for transactional sends.
MORE_DECIDING = 2
# This share of the lanes is never taken by marketing, and one of so many turns is marketing's before the others'.
RESERVED_SHARE = 8
MARKETING_TURN = 7
# How long a lane works on the sends that it takes at once, one call after the other, and how many these are at most.
CHUNK_S = 0.02
MAX_CHUNK = 25
# The share of a new call in the moving average of their time.
AVERAGE_SHARE = 0.1


class Bookkeeper(Protocol):
    """What becomes of RQ's jobs."""

    def finish(self, jobs: list[QueuedJob], pipe: Any, *, is_idle: bool) -> None:
        """Adds the commands that forget these jobs to a pipeline. is_idle: no job is in this process any more."""

    def fail(self, jobs: list[QueuedJob], *, is_idle: bool) -> None:
        """Lists these jobs as failed. Raises RedisError."""


class Lane(threading.Thread):
    """One thread. It sleeps until it is handed sends."""

    def __init__(self, lanes: Lanes, number: int, courier: Courier) -> None:
        super().__init__(name=f"lane-{number}", daemon=True)
        self._lanes = lanes
        self.courier = courier
        self._wake = threading.Lock()
        self._wake.acquire()
        self.sends: list[Waiting] = []

    def hand_over(self, sends: list[Waiting]) -> None:
        self.sends = sends
        self.started_at = time.monotonic()
        self._wake.release()

    def run(self) -> None:
        while True:
            self._wake.acquire()
            while self.sends:
                self._lanes.carry_out(self)


class LaneAside:
    """The sends of a lane that wait for a source of truth. `carry_out` leaves them out; they are not over."""

    def __init__(self, lanes: Lanes, sends: list[Waiting]) -> None:
        self._lanes = lanes
        self._sends = sends

    def resume(self, item: Item) -> Callable[[], object]:
        waiting = next(waiting for waiting in self._sends if waiting.item is item)
        return partial(self._lanes.resume, waiting)

    def add(self, item: Item) -> None:
        self._sends[:] = [waiting for waiting in self._sends if waiting.item is not item]


class Lanes:
    """At most `concurrency` lanes of one account, started when they are needed.

    build       makes a lane's courier; it enters its argument around whatever waits for the ESP
    bookkeeper  is told what becomes of the jobs
    esp         the account's name, for metrics
    """

    def __init__(
        self,
        build: Callable[[WaitingForEsp], Courier],
        bookkeeper: Bookkeeper,
        concurrency: int,
        esp: str,
    ) -> None:
        self._build = build
        self._bookkeeper = bookkeeper
        self._concurrency = concurrency
        # The first lane's courier is made now: what is wrong with the settings stops the start.
        self._first_courier: Courier | None = build(self._waiting_for_esp)
        self._batch = self._first_courier.batch
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        # Held from the last look at whether a job is here until Redis knows what this process does.
        self._telling = threading.Lock()
        self._lanes: list[Lane] = []
        # The one that slept last is woken first, so that its connections are warm and others' may close.
        self._idle: list[Lane] = []
        self._reserved = -(-concurrency // RESERVED_SHARE) if concurrency > 1 else 0
        self._lines = {False: Line(), True: Line()}
        self._deciding = self._jobs = self._turns = 0
        self._average_call_s = CHUNK_S
        self.error: Exception | None = None
        metrics.LANES.labels(esp).set(concurrency)
        self._in_use = metrics.LANES_IN_USE.labels(esp)
        self._in_use.set(0)

    @property
    def is_idle(self) -> bool:
        """Whether no job is in this process, and all lanes are at rest."""
        return self._jobs == 0 and len(self._idle) == len(self._lanes)

    @property
    def has_jobs(self) -> bool:
        """Whether a job is in this process."""
        return self._jobs > 0

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Around the taking of jobs, until they are submitted: no lane lets Redis know meanwhile that none is here."""
        with self._telling:
            yield

    def room(self, *, marketing: bool) -> int:
        """How many sends may be submitted: not more than can begin within about a call."""
        return max(self._batch, self._concurrency) - self._lines[marketing].count

    def submit(self, queued: QueuedJob) -> None:
        """Takes a job, which has at least one send."""
        metrics.QUEUE_WAIT.observe(max(0, time.time_ns() // 1_000_000 - queued.job.created) / 1000)
        with self._lock:
            self._jobs += 1
            self._lines[queued.marketing].add(queued)
            self._hand_out()

    def resume(self, waiting: Waiting) -> None:
        """Takes up a send whose answers are in. Called by whoever has them."""
        with self._lock:
            self._lines[waiting.queued.marketing].add_back(waiting)
            self._hand_out()

    def wait(self, is_done: Callable[[], bool], timeout_s: float) -> bool:
        """Waits until lanes have brought this about."""
        with self._changed:
            return self._changed.wait_for(lambda: is_done() or self.error is not None, timeout_s)

    def expire(self, at: float) -> None:
        """Budgets end at this time (monotonic seconds) at the latest: the process is to end."""
        with self._lock:
            for line in self._lines.values():
                for waiting in line:
                    waiting.queued.expires_at = min(waiting.queued.expires_at, at)

    def oldest_started_at(self) -> float:
        """When the lane that is at work for longest took its sends (monotonic seconds); infinity if none is at work."""
        with self._lock:
            return min((lane.started_at for lane in self._lanes if lane.sends), default=float("inf"))

    def close(self) -> None:
        """Closes the connections of lanes that are at rest."""
        with self._lock:
            idle = list(self._idle)
        for lane in idle:
            lane.courier.close()

    def _hand_out(self) -> None:
        """Wakes lanes for what waits, while more of them would help. The lock is held."""
        while (line := self._next_line(len(self._lanes) - len(self._idle))) is not None:
            if self._idle:
                lane = self._idle.pop()
            elif len(self._lanes) < self._concurrency:
                lane = self._new_lane()
            else:
                return
            self._deciding += 1
            self._in_use.inc()
            lane.hand_over(self._take(line))

    def _next_line(self, busy: int) -> Line | None:
        """The sends of which a lane may take some now, if so many others are busy."""
        transactional, marketing = self._lines[False], self._lines[True]
        if marketing.count and self._deciding < MAX_DECIDING and busy < self._concurrency - self._reserved:
            self._turns += 1
            if not transactional.count or self._turns % MARKETING_TURN == 0:
                return marketing
        if transactional.count and self._deciding < MAX_DECIDING + MORE_DECIDING:
            return transactional
        return None

    def _new_lane(self) -> Lane:
        courier = self._first_courier or self._build(self._waiting_for_esp)
        self._first_courier = None
        lane = Lane(self, len(self._lanes) + 1, courier)
        self._lanes.append(lane)
        lane.start()
        return lane

    def _take(self, line: Line) -> list[Waiting]:
        """The next sends for one lane: as many as share a call, or take CHUNK_S together."""
        limit = self._batch
        if limit == 1:
            limit = min(MAX_CHUNK, max(1, int(CHUNK_S / max(self._average_call_s, 1e-6))))
        self._changed.notify_all()
        return line.take(limit)

    @contextmanager
    def _waiting_for_esp(self, *, is_call: bool) -> Iterator[None]:
        """Around whatever waits for the ESP: another lane may decide meanwhile."""
        with self._lock:
            self._deciding -= 1
            self._hand_out()
        started = time.monotonic()
        try:
            yield
        finally:
            elapsed_s = time.monotonic() - started
            with self._lock:
                self._deciding += 1
                if is_call:
                    self._average_call_s += (elapsed_s - self._average_call_s) * AVERAGE_SHARE

    def carry_out(self, lane: Lane) -> None:
        """Carries out the lane's sends, and takes the next ones or puts it to rest. Called by the lane."""
        jobs = list({id(waiting.queued): waiting.queued for waiting in lane.sends}.values())
        ended: list[QueuedJob] | None = None
        is_idle = False
        own_sends = list(lane.sends)

        def finish(pipe: Any) -> None:
            nonlocal ended, is_idle
            ended = self._end(own_sends, failed=False)
            is_idle = self._begin_to_tell_idle()
            self._bookkeeper.finish([queued for queued in ended if not queued.failed], pipe, is_idle=is_idle)

        sends = [(waiting.item, waiting.queued.expires_at) for waiting in lane.sends]
        try:
            try:
                lane.courier.carry_out(jobs[0].job, sends, finish, LaneAside(self, own_sends))
            finally:
                if is_idle:
                    self._telling.release()
        except Exception as error:
            self._fail(own_sends, jobs if ended is None else ended, ended is None, error)
        with self._lock:
            self._changed.notify_all()
            self._deciding -= 1
            line = self._next_line(len(self._lanes) - len(self._idle) - 1)
            if line is not None:
                self._deciding += 1
                lane.sends = self._take(line)
                lane.started_at = time.monotonic()
                return
            lane.sends = []
            self._idle.append(lane)
            self._in_use.dec()
            self._hand_out()

    def _begin_to_tell_idle(self) -> bool:
        """If no job is here, holds back the taking of others until Redis knows: whoever called it releases it."""
        if self._jobs:
            return False
        self._telling.acquire()
        if self._jobs:
            self._telling.release()
            return False
        return True

    def _end(self, sends: list[Waiting], *, failed: bool) -> list[QueuedJob]:
        """Counts the sends as over. The jobs that ended with them."""
        ended = []
        with self._lock:
            for waiting in sends:
                queued = waiting.queued
                queued.remaining -= 1
                queued.failed = queued.failed or failed
                if queued.remaining == 0:
                    self._jobs -= 1
                    ended.append(queued)
            return ended

    def _fail(self, sends: list[Waiting], jobs: list[QueuedJob], is_open: bool, error: Exception) -> None:
        """The sends' timers bring them back; RQ's tools see the jobs as failed."""
        # The error's text may quote what the jobs were about.
        log.error(
            "job_failed", jobs=[queued.id.decode("utf-8", "replace") for queued in jobs], error=type(error).__name__
        )
        if is_open:
            self._end(sends, failed=True)
        try:
            with self._telling:
                self._bookkeeper.fail(jobs, is_idle=self._jobs == 0)
        except (RedisConnectionError, RedisTimeoutError):
            # The timers know the sends, and this process connects anew.
            pass
        except Exception as second:
            # Redis takes no writes: the process ends, and a new one asks the address anew.
            self.error = second
