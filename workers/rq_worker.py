"""RQ's worker with a few trips to Redis a job instead of some twenty: bookkeeping must not cost more than the mail.

What RQ knows of a job while it runs is nobody's record here, since a send that is lost comes back from the timers.
What its tools and `redis_monitor.py` read is kept: the workers with state and heartbeat, failed jobs, suspension.
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
# Silent is who has not been heard of for a minute (`redis_monitor.py`).
HEARTBEAT_INTERVAL_S = 5.0
SUSPENSION_CHECK_INTERVAL_S = 1.0


class DeliverWorker(SimpleWorker):
    """Runs in process, since a fork costs more than a mail; and runs nothing but deliveries, whatever Redis says.

    Written against rq 3.0: `work`, `dequeue_job_and_maintain_ttl` and `clean_registries` are RQ's own.
    """

    _beat_at = _looked_at = float("-inf")

    def execute_job(self, job: Job, queue: Queue) -> None:
        """RQ has moved the job's id to its intermediate queue, where its maintenance finds what a dead worker left."""
        if job.func_name != DELIVER:
            log.error("foreign_job", job=job.id)
            self._end(job, queue)
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
            self._end(job, queue)

    def _end(self, job: Job, queue: Queue) -> None:
        with self.connection.pipeline(transaction=False) as pipe:
            pipe.delete(job.key)
            pipe.lrem(queue.intermediate_queue_key, 1, job.id)
            self.increment_successful_job_count(pipe)
            pipe.hset(self.key, "state", WorkerStatus.IDLE)
            pipe.execute()
        # Not before: a signal ends whoever is not busy at once, and here would leave the job behind.
        self._state = WorkerStatus.IDLE

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """RQ calls it three times a job."""
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
        elif time.monotonic() - self._beat_at >= HEARTBEAT_INTERVAL_S:
            self._beat_at = time.monotonic()
            with self.connection.pipeline(transaction=False) as pipe:
                super().heartbeat(timeout, pipe)
                pipe.execute()

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """RQ says anew with each job what is known."""
        if pipeline is not None or state != self.get_state():
            super().set_state(state, pipeline)

    def check_for_suspension(self, burst: bool) -> None:
        """Of `rq suspend`."""
        if time.monotonic() - self._looked_at >= SUSPENSION_CHECK_INTERVAL_S:
            self._looked_at = time.monotonic()
            super().check_for_suspension(burst)

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]  # RQ has no types for it
        # Whoever supervises it starts it again, with a changed catalog.
        signal.signal(signal.SIGHUP, self.request_stop)
