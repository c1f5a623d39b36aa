"""What of a job in RQ is read: our own payload, and nothing that somebody else could have put beside it.

`rq_worker.py` takes the jobs; `freshgate/queue.py` wrote them.
"""

from __future__ import annotations

import zlib
from typing import Any, Literal

import msgspec
from redis.exceptions import ResponseError
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job

from freshgate import queue as wire
from freshgate.queue import RQ_KEY_PREFIX, WIRE_VERSION
from freshgate.telemetry import logs

log = logs.get(__name__)
# The largest job of ours has some hundred kilobytes.
MAX_JOB_BYTES = 8 * 1024 * 1024
JOB_KEY = f"{RQ_KEY_PREFIX}:job:".encode()
# Function, instance, arguments, keyword arguments: what `freshgate.queue.push` writes, and nothing else.
_decode_call = msgspec.json.Decoder(tuple[Literal["workers.jobs.deliver"], None, tuple[Any], dict[str, None]]).decode


class ForeignJob(Exception):
    """A job that `freshgate.queue.push` did not write."""


def read_job(payload: Any) -> wire.Job | None:
    """The job that RQ's field `data` holds; None if it is gone, or a newer release wrote it.

    Raises ForeignJob, and msgspec.ValidationError for our own call with something else than a job.
    """
    if payload is None:
        return None
    if not isinstance(payload, bytes):
        raise ForeignJob
    decompressor = zlib.decompressobj()
    try:
        text = decompressor.decompress(payload, MAX_JOB_BYTES)
        _, _, (job,), keywords = _decode_call(text)
    except (zlib.error, msgspec.MsgspecError, ValueError, RecursionError):
        raise ForeignJob from None
    if keywords or not decompressor.eof:
        raise ForeignJob
    if isinstance(job, dict) and job.get("v") != WIRE_VERSION:
        # While hosts are updated one by one: its lease expires, and a newer worker gets it.
        log.warning("job_of_another_version", version=job.get("v"))
        return None
    return msgspec.convert(job, wire.Job)


def is_marketing(queue: Queue) -> bool:
    return queue.name.endswith((".marketing", ".marketing.timers"))


class DeliverJob(Job):
    """A job of which nothing is read but the payload, and that by `read_job`. Whoever can write to Redis could put
    callbacks, webhooks, times, retries and metadata beside it, for which RQ would import modules and call URLs.

    RQ makes one where it looks after what a dead worker left.
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


class DeliverQueue(Queue):
    """A queue whose jobs are read as DeliverJob, also where RQ looks after what a dead worker left."""

    job_class = DeliverJob
