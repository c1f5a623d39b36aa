"""The wire form of an RQ job, and `push`, which writes one. RQ is the fast path; the timers are the record.

The receiver and the timers push; a worker runs `workers.jobs.deliver`, which is named here and never imported.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec

DELIVER = "workers.jobs.deliver"
# rq.defaults.RQ_KEY_PREFIX, written out, since importing it loads all of RQ into the receiver.
RQ_KEY_PREFIX = "rq"
WIRE_VERSION = 2
# How long a worker may take for a job, and how long a job that nobody took is kept.
JOB_TIMEOUT_S = 60
TTL_S = 3600
_encode = msgspec.json.Encoder().encode


class Item(msgspec.Struct, frozen=True, array_like=True):
    """One send of a job.

    timer     "abandoned_cart|p:u3f…"
    returned  1 when the timers bring back a send that its job lost
    paced     1 when it has its turn at its account's pace; without a mail that is given back
    """

    timer: str
    returned: int = 0
    paced: int = 0


class Job(msgspec.Struct, frozen=True):
    """A job. It carries ids only: no address, no payload.

    created  when it was written (ms)
    shop     the id space whose timers it names
    v        version of this form
    trace    traceparent of the sampled trace that it belongs to; empty if there is none
    id       RQ's id of the job; only in a sampled trace
    """

    sends: tuple[Item, ...]
    created: int
    shop: str
    v: int = WIRE_VERSION
    trace: str = ""
    id: str = ""


def queue_name(esp: str, *, marketing: bool = False, timers: bool = False) -> str:
    """A queue of an ESP account. Each account has its own four, so that a dead ESP slows down no other.

    marketing  for mails that wait while transactional ones leave
    timers     for what timers bring, apart from what webhooks start: neither waits behind a long queue of the other
    """
    return f"freshgate-{esp}" + (".marketing" if marketing else "") + (".timers" if timers else "")


def queue_names(esp: str) -> list[str]:
    """All queues of an account."""
    return [queue_name(esp, marketing=kind, timers=origin) for kind in (False, True) for origin in (False, True)]


def push(
    pipe: Any, name: str, shop: str, sends: Sequence[tuple[str, int] | tuple[str, int, int]], now: int, trace: str = ""
) -> str:
    """Writes one job for all `sends` into the pipeline, and returns its id. RQ never retries it and keeps no result:
    the timers bring back what it loses.

    pipe   a pipeline, which the caller executes
    name   of the queue
    shop   the id space of the timers
    sends  (timer, returned) or (timer, returned, paced), the fields of `Item`
    now    ms
    trace  a traceparent, or empty

    Writes what `rq.Queue.enqueue_many` writes, at a quarter of its cost: RQ spends its time on objects that we do not
    need. `tests/freshgate/test_queue.py` compares the two, field by field.
    """
    job_id, enqueued_at = str(uuid4()), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    payload: dict[str, Any] = {"v": WIRE_VERSION, "created": now, "shop": shop, "sends": sends}
    if trace:
        payload |= {"trace": trace, "id": job_id}
    job = {
        "created_at": enqueued_at,
        "enqueued_at": enqueued_at,
        # Function, instance, arguments, keyword arguments, as RQ's JSON serializer reads them.
        "data": zlib.compress(_encode((DELIVER, None, (payload,), {})), level=1),
        "description": f"{len(sends)} sends",
        "origin": name,
        "status": "queued",
        "timeout": JOB_TIMEOUT_S,
        "result_ttl": 0,
        "failure_ttl": TTL_S,
        "ttl": TTL_S,
        **_EMPTY_FIELDS,
    }
    key, queue = f"{RQ_KEY_PREFIX}:job:{job_id}", f"{RQ_KEY_PREFIX}:queue:{name}"
    pipe.hset(key, mapping=job)
    pipe.expire(key, TTL_S)
    pipe.sadd(f"{RQ_KEY_PREFIX}:queues", queue)
    pipe.rpush(queue, job_id)
    return job_id


# RQ writes and reads these fields even when they are empty.
_EMPTY_FIELDS = dict.fromkeys(
    (
        "started_at",
        "ended_at",
        "last_heartbeat",
        "worker_name",
        "group_id",
        "success_callback_name",
        "failure_callback_name",
        "stopped_callback_name",
    ),
    "",
)
