"""RQ's worker with a few trips to Redis a job instead of some twenty: bookkeeping must not cost more than the mail.

The timers bring a lost send back, so RQ need not record a job that runs. What RQ's tools and `redis_monitor.py` read
is kept: the list of workers with state and heartbeat, failed jobs, suspension.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

from rq import Queue, SimpleWorker
from rq.job import Job
from rq.timeouts import JobTimeoutException
from rq.worker import WorkerStatus

from freshgate.queue import DELIVER
from freshgate.telemetry import logs

log = logs.get(__name__)
# Far below the minute after which `redis_monitor.py` calls a worker silent.
HEARTBEAT_INTERVAL_S = 5.0
SUSPENSION_CHECK_INTERVAL_S = 1.0


class DeliverWorker(SimpleWorker):
    """Runs jobs in its own process, since a fork costs more than a mail, and only those that call `DELIVER`.

    Relies on these inner workings of rq 3.0; a new version of RQ is checked against them:
    - `work` takes a job by `dequeue_job_and_maintain_ttl`, which moves its id to the queue's intermediate queue, then
      calls `execute_job`; `clean_registries` re-queues ids that a dead worker left there.
    - `heartbeat`, `set_state` and `check_for_suspension` are called around every job, mostly with nothing new to write.
    - `_finalize_failure` puts a job into the registry of failed jobs.
    - `request_stop` ends an idle worker at once, and lets a busy one end its job first.
    """

    _last_heartbeat_at = _suspension_checked_at = float("-inf")

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Runs the job. Until the end its id stands in the intermediate queue, where a dead worker's is found."""
        if job.func_name != DELIVER:
            log.error("foreign_job", job=job.id)
            self._finish(job, queue)
            return
        self.set_state(WorkerStatus.BUSY)
        try:
            with self.death_penalty_class(job.timeout or queue.DEFAULT_TIMEOUT, JobTimeoutException, job_id=job.id):
                job.perform()
        except Exception:
            # RQ's own way, to its registry of failed jobs.
            self._finalize_failure(job, queue, self.prepare_execution(job), sys.exc_info())
            self.connection.lrem(queue.intermediate_queue_key, 1, job.id)
            self.set_state(WorkerStatus.IDLE)
        else:
            self._finish(job, queue)

    def _finish(self, job: Job, queue: Queue) -> None:
        with self.connection.pipeline(transaction=False) as pipe:
            pipe.delete(job.key)
            pipe.lrem(queue.intermediate_queue_key, 1, job.id)
            self.increment_successful_job_count(pipe)
            pipe.hset(self.key, "state", WorkerStatus.IDLE)
            pipe.execute()
        # Only now: a signal ends an idle worker at once, which before the trip would leave the job behind.
        self._state = WorkerStatus.IDLE

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
