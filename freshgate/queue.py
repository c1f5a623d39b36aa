"""A job on the wire, and pushing it into the caller's pipeline: the fast path, while the timers are the record.

The receiver and the timers call it; a worker runs `workers.jobs.deliver`, which is only ever named here.
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
WIRE_VERSION = 1
JOB_TIMEOUT_S = 60
TTL_S = 3600
_encode = msgspec.json.Encoder().encode


class Item(msgspec.Struct, frozen=True, array_like=True):
    """One send as jobs carry it: the timer's member, the due (ms) that was claimed, and whether it came back."""

    member: str
    due: int
    returned: int = 0


class Job(msgspec.Struct, frozen=True):
    """The wire form of a job. Ids only: no address, no payload.

    trace  the sampled trace that it belongs to, and then its own `id`
    """

    sends: tuple[Item, ...]
    created: int
    v: int = WIRE_VERSION
    trace: str = ""
    id: str = ""


def queue_name(esp: str) -> str:
    """One queue an ESP account: a dead ESP slows no other."""
    return f"freshgate-{esp}"


def push(pipe: Any, name: str, sends: Sequence[tuple[str, int, int]], now: int, trace: str = "") -> str:
    """One job for all these sends. Never retried, without a result: what it lost comes back from the timers.

    It writes what `rq.Queue.enqueue_many` writes, at a quarter of its cost: RQ spends its time on objects that nobody
    here needs. `tests/freshgate/test_queue.py` compares the two, field by field. Returns the job's id.
    """
    job_id, told = str(uuid4()), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    payload: dict[str, Any] = {"v": WIRE_VERSION, "created": now, "sends": sends}
    if trace:
        payload |= {"trace": trace, "id": job_id}
    job = {
        "created_at": told,
        "enqueued_at": told,
        # Function, instance, arguments, keyword arguments: what RQ's JSON serializer reads.
        "data": zlib.compress(_encode((DELIVER, None, (payload,), {})), level=1),
        "description": f"{len(sends)} sends",
        "origin": name,
        "status": "queued",
        "timeout": JOB_TIMEOUT_S,
        "result_ttl": 0,
        "failure_ttl": TTL_S,
        "ttl": TTL_S,
        **_NOTHING_YET,
    }
    key, queue = f"{RQ_KEY_PREFIX}:job:{job_id}", f"{RQ_KEY_PREFIX}:queue:{name}"
    pipe.hset(key, mapping=job)
    pipe.expire(key, TTL_S)
    pipe.sadd(f"{RQ_KEY_PREFIX}:queues", queue)
    pipe.rpush(queue, job_id)
    return job_id


# RQ writes and reads these even where there is nothing to say.
_NOTHING_YET = dict.fromkeys(
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
