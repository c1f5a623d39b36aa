"""Sends become one RQ job, written into the caller's pipeline: the fast path, while the timers are the record.

The receiver and the timers call it; a worker runs `workers.jobs.deliver`, which is only ever named here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from rq import Queue
from rq.serializers import JSONSerializer

DELIVER = "workers.jobs.deliver"
JOB_TIMEOUT_S = 60


def queue_name(esp: str) -> str:
    """One queue an ESP account: a dead ESP slows no other."""
    return f"freshgate-{esp}"


def push(pipe: Any, client: redis.Redis, name: str, sends: Sequence[tuple[str, int, int]], now: int) -> None:
    """One job for all these sends. Never retried, without a result: what it lost comes back from the timers."""
    payload = {"v": 1, "created": now, "sends": [list(send) for send in sends]}
    queue = Queue(name, connection=client, serializer=JSONSerializer)
    job = Queue.prepare_data(DELIVER, args=(payload,), timeout=JOB_TIMEOUT_S, result_ttl=0, failure_ttl=3600, ttl=3600)
    queue.enqueue_many([job], pipeline=pipe)
