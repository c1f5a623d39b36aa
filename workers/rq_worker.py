"""RQ's worker with a few trips to Redis for many jobs instead of some twenty each. It takes jobs for the lanes.

The timers bring a lost send back, so RQ need not record a job that runs. What RQ's tools and `redis_monitor.py` read
is kept: the list of workers with state and heartbeat, jobs under way, failed jobs, suspension.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import Queue, SimpleWorker
from rq.exceptions import StopRequested
from rq.job import Job
from rq.utils import now
from rq.worker import WorkerStatus
from rq.worker_registration import clean_worker_registry

from freshgate.errors import FreshgateError
from freshgate.queue import JOB_TIMEOUT_S, RQ_KEY_PREFIX, TTL_S
from freshgate.telemetry import logs
from workers.courier import BUDGET_S
from workers.lanes import Lanes
from workers.line import QueuedJob
from workers.rq_jobs import JOB_KEY, DeliverJob, DeliverQueue, ForeignJob, is_marketing, read_job

log = logs.get(__name__)
# Far below the minute after which `redis_monitor.py` calls a worker silent.
HEARTBEAT_INTERVAL_S = 5.0
SUSPENSION_CHECK_INTERVAL_S = 1.0
# How long it waits for a job before it looks whether it is to stop: a signal never interrupts the taking of a job.
POLL_INTERVAL_S = 0.5
RECONNECT_PAUSE_S = 0.5
# Sends that no lane has begun with are begun for so long after a signal to stop; then they go back to the timers.
FINISH_S = 2.0
# The same while marketing has no room: a transactional job waits for so long at most.
FULL_INTERVAL_S = 0.01
# One of so many turns asks for marketing first, so that it never waits without end. Odd: what webhooks start and what
# timers bring are each asked first in every other turn.
MARKETING_TURN = 7
# Jobs that are taken at once, at most.
MAX_TAKEN = 50


class LaneStuck(FreshgateError):
    """A lane has worked on its sends for longer than any call may take: code of the catalog does not end."""


class DeliverWorker(SimpleWorker):
    """Hands jobs to the lanes of its own process, since a fork costs more than a mail, and only our own.

    Relies on these inner workings of rq 3.0; a new version of RQ is checked against them:
    - `bootstrap` and `teardown` write the worker into RQ's list and take it out; `heartbeat` keeps it there.
    - `check_for_suspension` raises StopRequested in burst mode, and waits otherwise.
    - a queue's intermediate queue lists the jobs under way. RQ moves them there in the command that takes them; here
      they are written with the command that reads them, so that one command takes several.
    - `clean_registries` calls `handle_job_failure` for ids that a dead worker left in the intermediate queue.

    queues       the four of an account, as `freshgate.queue.queue_names` has them
    after_outage  called when Redis is back; it raises RedisError where it is not
    was_stopped  somebody asked it to end
    executed     jobs so far
    """

    job_class = DeliverJob
    queue_class = DeliverQueue
    after_outage: Callable[[], object] = staticmethod(lambda: None)
    was_stopped = False
    executed = 0
    _last_heartbeat_at = _suspension_checked_at = float("-inf")
    _sends_per_job = 1.0
    _turns = 0

    def deliver(self, lanes: Lanes, *, burst: bool = False, max_jobs: int | None = None) -> None:
        """Works until told to stop, for so many jobs at most; with `burst`, until the queue is empty and all is done.

        Goes on when Redis is back. Raises any other RedisError, of a lane's too, and LaneStuck; what is under way in
        other lanes is finished first.
        """
        self.bootstrap("WARNING")
        self._install_signal_handlers()
        was_away = False
        try:
            with suppress(StopRequested):
                while not self._stop_requested and (max_jobs is None or self.executed < max_jobs):
                    self._require_health(lanes)
                    try:
                        if was_away:
                            # Before it takes a job that has waited in Redis meanwhile.
                            self.after_outage()
                            was_away = False
                        self.check_for_suspension(burst)
                        if self.should_run_maintenance_tasks:
                            self.run_maintenance_tasks()  # type: ignore[no-untyped-call]  # RQ has no types for it
                        self.heartbeat()
                        if not self._take_jobs(lanes, burst) and burst and lanes.is_idle:
                            break
                    except (RedisConnectionError, RedisTimeoutError) as error:
                        log.warning("redis_unavailable", error=type(error).__name__)
                        was_away = True
                        time.sleep(RECONNECT_PAUSE_S)
        finally:
            lanes.expire(time.monotonic() + FINISH_S)
            lanes.wait(lambda: lanes.is_idle, JOB_TIMEOUT_S)
            lanes.close()
            self.teardown()  # type: ignore[no-untyped-call]  # as above
        self._require_health(lanes)

    def _require_health(self, lanes: Lanes) -> None:
        if lanes.error:
            raise lanes.error
        if time.monotonic() - lanes.oldest_started_at() > JOB_TIMEOUT_S:
            # A thread cannot be ended by force; a process can, and a new one works.
            raise LaneStuck

    def _take_jobs(self, lanes: Lanes, burst: bool) -> bool:
        """Takes as many jobs as the lanes have room for; False if there is none in any queue."""
        rooms = {marketing: lanes.room(marketing=marketing) for marketing in (False, True)}
        queues = [queue for queue in self._in_turn() if rooms[is_marketing(queue)] > 0]
        if not queues:
            lanes.wait(lambda: lanes.room(marketing=False) > 0 or lanes.room(marketing=True) > 0, POLL_INTERVAL_S)
            return True
        # The room of what is asked for first; a job of the other kind may be too many by some.
        amount = min(MAX_TAKEN, max(1, int(rooms[is_marketing(queues[0])] / self._sends_per_job)))
        names = [queue.key for queue in queues]
        waits = not burst and len(queues) == len(self.queues)
        if waits:
            popped: Any = self.connection.blmpop(POLL_INTERVAL_S, len(names), *names, direction="LEFT", count=amount)
        else:
            popped = self.connection.lmpop(len(names), *names, direction="LEFT", count=amount)
        if popped:
            with lanes.taking():
                self._submit(lanes, next(queue for queue in queues if queue.key.encode() == popped[0]), popped[1])
            return True
        if burst and len(queues) == len(self.queues):
            lanes.wait(lambda: lanes.is_idle, POLL_INTERVAL_S)
        elif not waits:
            # The other kind has no room yet: what comes meanwhile is looked for soon.
            lanes.wait(lambda: min(lanes.room(marketing=marketing) for marketing in rooms) > 0, FULL_INTERVAL_S)
        return len(queues) < len(self.queues)

    def _in_turn(self) -> list[Queue]:
        """Transactional queues first, but for one turn of a few; what webhooks start and what timers bring in turn."""
        self._turns += 1
        queues = self.queues if self._turns % 2 else [self.queues[1], self.queues[0], self.queues[3], self.queues[2]]
        return [*queues[2:], *queues[:2]] if self._turns % MARKETING_TURN == 0 else [*queues]

    def _submit(self, lanes: Lanes, queue: Queue, ids: list[bytes]) -> None:
        self._state = WorkerStatus.BUSY
        with self.connection.pipeline(transaction=False) as pipe:
            pipe.rpush(queue.intermediate_queue_key, *ids)
            pipe.hset(self.key, "state", WorkerStatus.BUSY)
            for job_id in ids:
                pipe.hget(JOB_KEY + job_id, "data")
            payloads = pipe.execute(raise_on_error=False)[2:]
        expires_at = time.monotonic() + BUDGET_S
        for job_id, payload in zip(ids, payloads, strict=True):
            self.executed += 1
            try:
                job = read_job(payload)
            except ForeignJob:
                log.error("foreign_job")
                self._drop(job_id, queue)
                continue
            except msgspec.ValidationError:
                log.error("job_failed", jobs=[job_id.decode("utf-8", "replace")], error="ValidationError")
                self._list_failed([job_id], queue)
                continue
            if job is None or not job.sends:
                self._drop(job_id, queue)
                continue
            self._sends_per_job += (len(job.sends) - self._sends_per_job) * 0.1
            lanes.submit(QueuedJob(job_id, queue.name, is_marketing(queue), job, expires_at, len(job.sends)))
        if not lanes.has_jobs:
            # None of them was one to carry out, or all are over already.
            self.connection.hset(self.key, "state", WorkerStatus.IDLE)

    def finish(self, jobs: Sequence[QueuedJob], pipe: Any, *, is_idle: bool) -> None:
        """Forgets jobs that are done: the commands leave with what a lane writes last. Thread-safe."""
        for queued in jobs:
            pipe.delete(JOB_KEY + queued.id)
            pipe.lrem(self._queue(queued).intermediate_queue_key, 1, queued.id)
        if jobs:
            pipe.hincrby(self.key, "successful_job_count", len(jobs))
        if is_idle:
            pipe.hset(self.key, "state", WorkerStatus.IDLE)

    def fail(self, jobs: Sequence[QueuedJob], *, is_idle: bool) -> None:
        """Lists jobs as failed: the timers bring their sends back. Raises RedisError. Thread-safe."""
        for queued in jobs:
            self._list_failed([queued.id], self._queue(queued))
        if is_idle:
            self.connection.hset(self.key, "state", WorkerStatus.IDLE)

    def _queue(self, queued: QueuedJob) -> Queue:
        return next(queue for queue in self.queues if queue.name == queued.queue)

    def handle_job_failure(
        self, job: Job, queue: Queue, started_job_registry: Any = None, exc_string: Any = "", execution: Any = None
    ) -> None:
        """Lists a job as failed that a dead worker left under way, and nothing more: no callback, no retry."""
        self._list_failed([job.id.encode()], queue)

    def _list_failed(self, ids: Sequence[bytes], queue: Queue) -> None:
        """As RQ's tools and `redis_monitor.py` read it."""
        ended_at = now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        with self.connection.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hset(JOB_KEY + job_id, mapping={"status": "failed", "ended_at": ended_at})
                pipe.expire(JOB_KEY + job_id, TTL_S)
                pipe.zadd(f"{RQ_KEY_PREFIX}:failed:{queue.name}", {job_id: int(time.time()) + TTL_S})
                self.increment_failed_job_count(pipe)
                pipe.lrem(queue.intermediate_queue_key, 1, job_id)  # type: ignore[arg-type]  # bytes are fine
            pipe.execute()

    def _drop(self, job_id: bytes, queue: Queue) -> None:
        with self.connection.pipeline(transaction=False) as pipe:
            pipe.delete(JOB_KEY + job_id)
            pipe.lrem(queue.intermediate_queue_key, 1, job_id)  # type: ignore[arg-type]  # bytes are fine
            pipe.execute()

    def clean_registries(self) -> None:
        """Forgets old failures and dead workers, and lists what a dead worker left under way.

        RQ would also go through registries that we never write, and act on whatever stands there.
        """
        for queue in self.queues:
            if queue.acquire_maintenance_lock():
                self.connection.zremrangebyscore(f"{RQ_KEY_PREFIX}:failed:{queue.name}", "-inf", int(time.time()))
                clean_worker_registry(queue)
                queue.intermediate_queue.cleanup(self, queue)
                queue.release_maintenance_lock()  # type: ignore[no-untyped-call]  # RQ has no types for it
        self.last_cleaned_at = now()  # type: ignore[assignment]  # RQ's own type says None

    def clean_group_registries(self) -> None:
        """Nothing: no job of ours has a group."""

    def request_stop(self, signum: Any, frame: Any) -> None:
        """Called on SIGTERM, SIGINT and SIGHUP: takes no more jobs, and finishes what is under way."""
        self.was_stopped = self._stop_requested = True
        self._shutdown_requested_date = now()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.request_force_stop)

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Writes at most one heartbeat per interval."""
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
        elif time.monotonic() - self._last_heartbeat_at >= HEARTBEAT_INTERVAL_S:
            self._last_heartbeat_at = time.monotonic()
            with self.connection.pipeline(transaction=False) as pipe:
                super().heartbeat(timeout, pipe)
                pipe.execute()

    def check_for_suspension(self, burst: bool) -> None:
        """Obeys `rq suspend` within a second instead of asking Redis before each job."""
        if time.monotonic() - self._suspension_checked_at >= SUSPENSION_CHECK_INTERVAL_S:
            self._suspension_checked_at = time.monotonic()
            super().check_for_suspension(burst)

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]  # RQ has no types for it
        # On SIGHUP the worker ends, and its supervisor starts it again with the changed catalog.
        signal.signal(signal.SIGHUP, self.request_stop)
