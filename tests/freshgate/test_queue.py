"""`freshgate.queue.push` writes the job that RQ itself would write, and a worker of RQ runs it."""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from redis import Redis
from rq import Queue, SimpleWorker
from rq.job import Job
from rq.serializers import JSONSerializer

from freshgate import queue as wire

QUEUE = "freshgate-test"
SENDS = [("abandoned_cart|p:u01", 0), ("order_confirmation|o:o02", 1)]
NOW = 1_760_000_000_002
TIMES = {b"created_at", b"enqueued_at"}


def push(redis: Redis) -> str:
    """A job by `freshgate.queue`; returns its id."""
    pipe = redis.pipeline()
    wire.push(pipe, QUEUE, "main", SENDS, NOW)
    pipe.execute()
    return only_job(redis)


def push_with_rq(redis: Redis) -> str:
    """The same job by RQ; returns its id."""
    payload = {"v": 2, "created": NOW, "shop": "main", "sends": SENDS}
    job = Queue.prepare_data(
        wire.DELIVER,
        args=(payload,),
        timeout=wire.JOB_TIMEOUT_S,
        result_ttl=0,
        failure_ttl=wire.TTL_S,
        ttl=wire.TTL_S,
        description=f"{len(SENDS)} sends",
    )
    Queue(QUEUE, connection=redis, serializer=JSONSerializer).enqueue_many([job])
    return only_job(redis)


def only_job(redis: Redis) -> str:
    ids: Any = redis.lrange(f"rq:queue:{QUEUE}", 0, -1)
    assert len(ids) == 1
    return bytes(ids[0]).decode()


def stored(redis: Redis, job_id: str) -> tuple[dict[bytes, Any], dict[str, Any]]:
    """The job's fields, with its data decoded and without its times; and everything else in Redis."""
    fields: Any = redis.hgetall(f"rq:job:{job_id}")
    fields[b"data"] = json.loads(zlib.decompress(fields[b"data"]))
    rest = {
        "keys": sorted(bytes(key).decode().replace(job_id, "<id>") for key in redis.scan_iter()),
        "queues": redis.smembers("rq:queues"),
        "expires": round(float(redis.ttl(f"rq:job:{job_id}")) / 10),
    }
    return {field: value for field, value in fields.items() if field not in TIMES} | {b"fields": set(fields)}, rest


def test_every_field_is_what_rq_itself_writes(redis: Redis) -> None:
    written = stored(redis, push(redis))
    redis.flushdb()
    assert written == stored(redis, push_with_rq(redis))


def test_rq_reads_the_times_of_our_job(redis: Redis) -> None:
    job = Job.fetch(push(redis), connection=redis, serializer=JSONSerializer)
    for moment in (job.created_at, job.enqueued_at):
        assert moment is not None
        assert timedelta() <= datetime.now(UTC) - moment.astimezone(UTC) < timedelta(minutes=1)


def test_a_worker_of_rq_that_is_not_ours_reads_our_job_and_lists_it_as_failed(redis: Redis) -> None:
    job_id = push(redis)
    queue = Queue(QUEUE, connection=redis, serializer=JSONSerializer)
    job = Job.fetch(job_id, connection=redis, serializer=JSONSerializer)
    ((payload,), function) = job.args, job.func_name
    assert function == "workers.jobs.deliver"
    assert msgspec.convert(payload, wire.Job) == wire.Job(tuple(wire.Item(*send) for send in SENDS), NOW, "main")
    SimpleWorker([queue], connection=redis, serializer=JSONSerializer).work(burst=True, logging_level="CRITICAL")
    assert redis.llen(queue.key) == 0
    assert queue.failed_job_registry.get_job_ids() == [job_id]
