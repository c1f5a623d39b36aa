"""RQ's worker with less bookkeeping: what RQ's tools and the monitor read is kept, and nothing is left behind."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from redis.client import Pipeline
from rq import Queue, SimpleWorker
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend

from freshgate import queue as wire
from freshgate.queue import Job
from workers import jobs
from workers.rq_worker import DeliverWorker

NAME = "freshgate-test"


class Courier:
    """Remembers the jobs, and calls `then` after each."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.then: Callable[[], object] = lambda: None

    def deliver(self, job: Job) -> None:
        self.jobs.append(job)
        self.then()


@pytest.fixture
def courier(monkeypatch: pytest.MonkeyPatch) -> Iterator[Courier]:
    courier = Courier()
    monkeypatch.setattr(jobs, "_installed", [courier])
    yield courier


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue(NAME, connection=redis, serializer=JSONSerializer)


@pytest.fixture
def worker(queue: Queue, redis: Redis) -> DeliverWorker:
    return DeliverWorker([queue], connection=redis, serializer=JSONSerializer)


def push(redis: Redis, number: int = 1) -> str:
    pipe = redis.pipeline()
    job_id = wire.push(pipe, NAME, "main", [(f"welcome|p:u{number:020d}", 0)], 1)
    pipe.execute()
    return job_id


def keys(redis: Redis, pattern: str) -> set[str]:
    names: Any = redis.keys(pattern)
    return {name.decode() for name in names}


def state(redis: Redis, worker: DeliverWorker) -> str:
    value: Any = redis.hget(worker.key, "state")
    return bytes(value).decode()


def test_jobs_are_done_in_order_and_nothing_of_them_is_left(
    worker: DeliverWorker, courier: Courier, redis: Redis, queue: Queue
) -> None:
    for number in range(3):
        push(redis, number)
    assert worker.work(burst=True)
    assert [job.sends[0].timer[-1] for job in courier.jobs] == ["0", "1", "2"]
    assert keys(redis, "rq:job:*") == set()
    assert queue.count == redis.llen(queue.intermediate_queue_key) == 0
    assert len(StartedJobRegistry(queue=queue)) == len(FailedJobRegistry(queue=queue)) == 0


def test_the_worker_is_busy_while_it_works_and_idle_afterwards(
    worker: DeliverWorker, courier: Courier, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    during: list[str] = []
    courier.then = lambda: during.append(state(redis, worker))
    push(redis)
    push(redis)
    afterwards: list[str] = []
    tear_down = SimpleWorker.teardown

    def record_state_and_tear_down(self: SimpleWorker) -> None:
        afterwards.append(state(redis, worker))
        tear_down(self)

    monkeypatch.setattr(SimpleWorker, "teardown", record_state_and_tear_down)
    worker.work(burst=True)
    assert (during, afterwards) == (["busy", "busy"], ["idle"])


def test_while_it_works_the_job_is_where_rq_looks_for_what_a_dead_worker_left(
    worker: DeliverWorker, courier: Courier, redis: Redis, queue: Queue
) -> None:
    under_way: list[Any] = []
    courier.then = lambda: under_way.extend(redis.lrange(queue.intermediate_queue_key, 0, -1))
    job_id = push(redis)
    worker.work(burst=True)
    assert under_way == [job_id.encode()]


def test_a_job_that_fails_is_listed_as_failed_and_the_next_is_done(
    worker: DeliverWorker, courier: Courier, redis: Redis, queue: Queue
) -> None:
    failing = push(redis, 1)
    push(redis, 2)

    def fail_first() -> None:
        if len(courier.jobs) == 1:
            raise RuntimeError("out of order")

    courier.then = fail_first
    worker.work(burst=True)
    assert len(courier.jobs) == 2
    assert FailedJobRegistry(queue=queue).get_job_ids() == [failing]
    assert redis.llen(queue.intermediate_queue_key) == 0
    assert len(StartedJobRegistry(queue=queue)) == 0


def test_a_job_that_calls_anything_else_is_dropped_and_not_run(
    worker: DeliverWorker, courier: Courier, redis: Redis, queue: Queue
) -> None:
    queue.enqueue("os.system", "touch here")
    push(redis)
    worker.work(burst=True)
    assert len(courier.jobs) == 1
    assert keys(redis, "rq:job:*") == set()
    assert len(FailedJobRegistry(queue=queue)) == redis.llen(queue.intermediate_queue_key) == 0


def test_a_heartbeat_is_written_at_most_every_few_seconds(
    worker: DeliverWorker, courier: Courier, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        push(redis, number)
    beats: list[object] = []
    write = SimpleWorker.heartbeat

    def heartbeat(self: SimpleWorker, *arguments: Any) -> None:
        beats.append(arguments)
        write(self, *arguments)

    monkeypatch.setattr(SimpleWorker, "heartbeat", heartbeat)
    worker.work(burst=True)
    assert len(courier.jobs) == 20
    # Registering the worker writes one as well; a slow machine may get to a third.
    assert 1 <= len(beats) < 5


def test_a_suspended_worker_takes_no_job(worker: DeliverWorker, courier: Courier, redis: Redis) -> None:
    push(redis)
    suspend(redis)
    worker.work(burst=True)
    assert courier.jobs == []
    resume(redis)
    worker = DeliverWorker(worker.queues, connection=redis, serializer=JSONSerializer)
    worker.work(burst=True)
    assert len(courier.jobs) == 1


def test_a_worker_told_to_stop_while_it_finishes_a_job_finishes_it_first(
    worker: DeliverWorker, courier: Courier, redis: Redis, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(redis)
    execute = Pipeline.execute

    def stop_and_execute(pipe: Pipeline, *arguments: Any) -> Any:
        if any(command[0][0] == "LREM" for command in pipe.command_stack):
            worker.request_stop(signal.SIGTERM, None)
        return execute(pipe, *arguments)

    monkeypatch.setattr(Pipeline, "execute", stop_and_execute)
    # Keeps the signal handlers of the test process.
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    worker.work(burst=True)
    assert len(courier.jobs) == 1
    assert keys(redis, "rq:job:*") == set()
    assert redis.llen(queue.intermediate_queue_key) == 0
