"""RQ's worker with a few trips to Redis a job instead of some twenty: bookkeeping must not cost more than the mail.

The timers bring a lost send back, so RQ need not record a job that runs. What RQ's tools and `redis_monitor.py` read
is kept: the list of workers with state and heartbeat, failed jobs, suspension.
"""

from __future__ import annotations

import signal
import time
import zlib
from typing import Any, Literal, cast

import msgspec
from redis.exceptions import ResponseError
from rq import Queue, SimpleWorker
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.timeouts import JobTimeoutException
from rq.utils import now
from rq.worker import WorkerStatus
from rq.worker_registration import clean_worker_registry

from freshgate.queue import JOB_TIMEOUT_S, RQ_KEY_PREFIX, TTL_S
from freshgate.telemetry import logs
from workers.jobs import deliver

log = logs.get(__name__)
# Far below the minute after which `redis_monitor.py` calls a worker silent.
HEARTBEAT_INTERVAL_S = 5.0
SUSPENSION_CHECK_INTERVAL_S = 1.0
# The largest job of ours has some hundred kilobytes.
MAX_JOB_BYTES = 8 * 1024 * 1024
# Function, instance, arguments, keyword arguments: what `freshgate.queue.push` writes, and nothing else.
_decode_call = msgspec.json.Decoder(tuple[Literal["workers.jobs.deliver"], None, tuple[Any], dict[str, None]]).decode


class ForeignJob(Exception):
    """A job that `freshgate.queue.push` did not write."""


class DeliverJob(Job):
    """A job of which only the payload is read. Whoever can write to Redis could put callbacks, webhooks, times, retries
    and metadata beside it, for which RQ would import modules and call URLs.
    """

    @classmethod
    def fetch(cls, id: str, connection: Any = None, serializer: Any = None) -> Any:
        """The job. Raises NoSuchJobError where there is none, or something that cannot be one: RQ then goes on."""
        try:
            return super().fetch(id, connection, serializer)
        except (ValueError, ResponseError):
            log.error("foreign_job")
            raise NoSuchJobError from None

    def restore(self, raw_data: Any) -> None:
        """Keeps the payload, unread, and the name of the queue."""
        self.payload: bytes = raw_data.get(b"data", b"")
        self.origin = raw_data.get(b"origin", b"").decode("utf-8", "replace")

    def call(self) -> None:
        """Calls the one function that a job may call. Raises ForeignJob if it asks for anything else."""
        decompressor = zlib.decompressobj()
        try:
            text = decompressor.decompress(self.payload, MAX_JOB_BYTES)
            _, _, (payload,), keywords = _decode_call(text)
        except (zlib.error, msgspec.MsgspecError, ValueError, RecursionError):
            raise ForeignJob from None
        if keywords or not decompressor.eof:
            raise ForeignJob
        deliver(payload)


class DeliverQueue(Queue):
    """A queue whose jobs are read as DeliverJob, also where RQ looks after what a dead worker left."""

    job_class = DeliverJob


class DeliverWorker(SimpleWorker):
    """Runs jobs in its own process, since a fork costs more than a mail, and only calls of `workers.jobs.deliver`.

    Relies on these inner workings of rq 3.0; a new version of RQ is checked against them:
    - `work` takes a job by `dequeue_job_and_maintain_ttl`, which moves its id to the queue's intermediate queue, then
      calls `execute_job`. It logs what is raised, and returns.
    - `clean_registries` calls `handle_job_failure` for ids that a dead worker left in the intermediate queue.
    - `heartbeat`, `set_state` and `check_for_suspension` are called around every job, mostly with nothing new to write.
    - `request_stop` ends an idle worker at once, and lets a busy one end its job first.

    was_stopped  somebody asked it to end
    executed     jobs so far
    """

    job_class = DeliverJob
    queue_class = DeliverQueue
    was_stopped = False
    executed = 0
    _last_heartbeat_at = _suspension_checked_at = float("-inf")

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Runs a DeliverJob. Until the end its id stands in the intermediate queue, where a dead worker's is found."""
        self.executed += 1
        self.set_state(WorkerStatus.BUSY)
        try:
            # Our own time, whatever the job says.
            with self.death_penalty_class(JOB_TIMEOUT_S, JobTimeoutException, job_id=job.id):
                cast(DeliverJob, job).call()
        except ForeignJob:
            log.error("foreign_job")
            self._finish(job, queue)
        except Exception as error:
            # The error's text may quote what the job was about.
            log.error("job_failed", job=job.id, error=type(error).__name__)
            self.handle_job_failure(job, queue)
        else:
            self._finish(job, queue)

    def handle_job_failure(
        self, job: Job, queue: Queue, started_job_registry: Any = None, exc_string: Any = "", execution: Any = None
    ) -> None:
        """Lists a job as failed, as RQ's tools and `redis_monitor.py` read it, and nothing more: no callback, no retry.

        The timers bring back its sends.
        """
        with self.connection.pipeline(transaction=False) as pipe:
            pipe.hset(job.key, mapping={"status": "failed", "ended_at": now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")})
            pipe.expire(job.key, TTL_S)
            pipe.zadd(f"{RQ_KEY_PREFIX}:failed:{queue.name}", {job.id: int(time.time()) + TTL_S})
            self.increment_failed_job_count(pipe)
            self._leave(job, queue, pipe)

    def _finish(self, job: Job, queue: Queue) -> None:
        with self.connection.pipeline(transaction=False) as pipe:
            pipe.delete(job.key)
            self.increment_successful_job_count(pipe)
            self._leave(job, queue, pipe)

    def _leave(self, job: Job, queue: Queue, pipe: Any) -> None:
        pipe.lrem(queue.intermediate_queue_key, 1, job.id)
        pipe.hset(self.key, "state", WorkerStatus.IDLE)
        pipe.execute()
        # Only now: a signal ends an idle worker at once, which before the trip would leave the job behind.
        self._state = WorkerStatus.IDLE

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
        """Called on SIGTERM, SIGINT and SIGHUP."""
        self.was_stopped = True
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]  # as above

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Writes at most one heartbeat per interval; RQ calls this three times a job."""
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
        elif time.monotonic() - self._last_heartbeat_at >= HEARTBEAT_INTERVAL_S:
            self._last_heartbeat_at = time.monotonic()
            with self.connection.pipeline(transaction=False) as pipe:
                super().heartbeat(timeout, pipe)
                pipe.execute()

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Writes a state only if it changed; RQ sets it again with each job."""
        if pipeline is not None or state != self.get_state():
            super().set_state(state, pipeline)

    def check_for_suspension(self, burst: bool) -> None:
        """Obeys `rq suspend` within a second instead of asking Redis before each job."""
        if time.monotonic() - self._suspension_checked_at >= SUSPENSION_CHECK_INTERVAL_S:
            self._suspension_checked_at = time.monotonic()
            super().check_for_suspension(burst)

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]  # RQ has no types for it
        # On SIGHUP the worker ends, and its supervisor starts it again with the changed catalog.
        signal.signal(signal.SIGHUP, self.request_stop)
