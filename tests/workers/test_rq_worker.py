"""RQ's worker with less bookkeeping: what RQ's tools and the monitor read is kept, and nothing is left behind."""

from __future__ import annotations

import http.server
import json
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import Queue, SimpleWorker
from rq.registry import FailedJobRegistry, StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend

from freshgate import queue as wire
from freshgate.queue import Item, Job, queue_name, queue_names
from workers.lanes import Lanes
from workers.rq_jobs import DeliverQueue
from workers.rq_worker import DeliverWorker

NAME = queue_name("test")


class Courier:
    """A lane's courier that remembers the jobs, and calls `then` with each, and `before_last_trip` before it ends."""

    batch = 1

    def __init__(self, redis: Redis) -> None:
        self.jobs: list[Job] = []
        self.then: Callable[[], object] = lambda: None
        self.before_last_trip: Callable[[], object] = lambda: None
        self._redis = redis

    def carry_out(
        self,
        job: Job,
        sends: Sequence[tuple[Item, float]],
        finish: Callable[[Any], object] | None = None,
        aside: object = None,
    ) -> None:
        self.jobs.append(job)
        self.then()
        with self._redis.pipeline(transaction=False) as pipe:
            if finish:
                finish(pipe)
            self.before_last_trip()
            pipe.execute()

    def close(self) -> None:
        pass


@pytest.fixture
def courier(redis: Redis) -> Courier:
    return Courier(redis)


def work(worker: DeliverWorker, courier: Courier) -> None:
    """Until the queue is empty, with one lane."""
    lanes = Lanes(lambda waiting: courier, worker, 1, "test")  # type: ignore[arg-type,return-value]  # all that is called
    worker.deliver(lanes, burst=True)


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return DeliverQueue(NAME, connection=redis, serializer=JSONSerializer)


@pytest.fixture
def worker(queue: Queue, redis: Redis) -> DeliverWorker:
    queues = [DeliverQueue(name, connection=redis, serializer=JSONSerializer) for name in queue_names("test")]
    return DeliverWorker(queues, connection=redis, serializer=JSONSerializer)


def push(redis: Redis, number: int = 1, queue: str = NAME) -> str:
    pipe = redis.pipeline()
    job_id = wire.push(pipe, queue, "main", [(f"welcome|p:u{number:020d}", 0)], 1)
    pipe.execute()
    return job_id


def keys(redis: Redis, pattern: str) -> set[str]:
    names: Any = redis.keys(pattern)
    return {name.decode() for name in names}


def within(seconds: float, is_true: Callable[[], object]) -> bool:
    """Waits until it is true, for so long at most."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def state(redis: Redis, worker: DeliverWorker) -> str:
    value: Any = redis.hget(worker.key, "state")
    return bytes(value).decode()


def test_jobs_are_done_in_order_and_nothing_of_them_is_left(
    worker: DeliverWorker, courier: Courier, redis: Redis, queue: Queue
) -> None:
    for number in range(3):
        push(redis, number)
    work(worker, courier)
    assert [job.sends[0].timer[-1] for job in courier.jobs] == ["0", "1", "2"]
    assert keys(redis, "rq:job:*") == set()
    assert queue.count == redis.llen(queue.intermediate_queue_key) == 0
    assert len(StartedJobRegistry(queue=queue)) == len(FailedJobRegistry(queue=queue)) == 0


@pytest.fixture
def last_states(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The states of workers as they end."""
    states: list[str] = []
    tear_down = SimpleWorker.teardown

    def record_state_and_tear_down(self: DeliverWorker) -> None:
        states.append(state(redis, self))
        tear_down(self)

    monkeypatch.setattr(SimpleWorker, "teardown", record_state_and_tear_down)
    return states


def test_the_worker_is_busy_while_it_works_and_idle_afterwards(
    worker: DeliverWorker, courier: Courier, redis: Redis, last_states: list[str]
) -> None:
    during: list[str] = []
    courier.then = lambda: during.append(state(redis, worker))
    push(redis)
    push(redis)
    work(worker, courier)
    assert (during, last_states) == (["busy", "busy"], ["idle"])


def test_the_worker_is_busy_with_a_job_that_it_took_while_the_last_one_ended(
    worker: DeliverWorker, courier: Courier, redis: Redis, queue: Queue, last_states: list[str]
) -> None:
    during: list[str] = []
    courier.then = lambda: during.append(state(redis, worker))

    def take_another() -> None:
        if len(courier.jobs) == 1:
            push(redis)
            assert within(20, lambda: queue.count == 0)
            # A worker that did not wait for the end of the first would write here that it is busy.
            within(0.2, lambda: redis.llen(queue.intermediate_queue_key) == 2)

    courier.before_last_trip = take_another
    push(redis)
    work(worker, courier)
    assert (during, last_states) == (["busy", "busy"], ["idle"])


def test_the_worker_is_idle_after_jobs_that_it_dropped(
    worker: DeliverWorker, courier: Courier, redis: Redis, last_states: list[str]
) -> None:
    forge(redis, ["x"])
    work(worker, courier)
    assert (courier.jobs, last_states) == ([], ["idle"])


def test_while_it_works_the_job_is_where_rq_looks_for_what_a_dead_worker_left(
    worker: DeliverWorker, courier: Courier, redis: Redis, queue: Queue
) -> None:
    under_way: list[Any] = []
    courier.then = lambda: under_way.extend(redis.lrange(queue.intermediate_queue_key, 0, -1))
    job_id = push(redis)
    work(worker, courier)
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
    work(worker, courier)
    assert len(courier.jobs) == 2
    assert FailedJobRegistry(queue=queue).get_job_ids() == [failing]
    assert redis.llen(queue.intermediate_queue_key) == 0
    assert len(StartedJobRegistry(queue=queue)) == 0


def test_a_job_that_calls_anything_else_is_dropped_and_not_run(
    worker: DeliverWorker, courier: Courier, redis: Redis, queue: Queue
) -> None:
    Queue(NAME, connection=redis, serializer=JSONSerializer).enqueue("os.system", "touch here")
    push(redis)
    work(worker, courier)
    assert len(courier.jobs) == 1
    assert keys(redis, "rq:job:*") == set()
    assert len(FailedJobRegistry(queue=queue)) == redis.llen(queue.intermediate_queue_key) == 0


# What is written in a forged job beside its call: modules to import, URLs to post to, times, and what breaks RQ.
EVIL: dict[str, Any] = {
    "success_callback_name": "evil.called",
    "failure_callback_name": "evil.called",
    "stopped_callback_name": "evil.called",
    "failure_callback_timeout": "soon",
    "meta": b"not json",
    "webhooks": "",
    "timeout": "1000000",
    "retries_left": "3",
    "retry_intervals": "[0]",
    "repeats_left": "3",
    "repeat_intervals": "[0]",
    "created_at": "yesterday",
    "status": "unheard of",
    "dependency_ids": '["another"]',
    "rate_limit_key": "x",
    "exc_info": b"\xff",
}
GOOD = {"v": 2, "created": 1, "shop": "main", "sends": [["welcome|p:u1", 0]]}
DELIVER: Any = "workers.jobs.deliver"
FORGED: dict[str, Any] = {
    "another function": ("evil.called", None, [GOOD], {}),
    "an instance": (DELIVER, "text", [GOOD], {}),
    "keywords": (DELIVER, None, [], {"job": GOOD}),
    "a keyword more": (DELIVER, None, [GOOD], {"a": None}),
    "two arguments": (DELIVER, None, [GOOD, GOOD], {}),
    "no call": ["x"],
    "an object": {},
    "a list of functions": ([DELIVER], None, [GOOD], {}),
}


def forge(redis: Redis, call: Any, job_id: str = "forged", **fields: Any) -> None:
    data = call if isinstance(call, bytes) else zlib.compress(json.dumps(call).encode())
    mapping: dict[Any, Any] = {"data": data, "origin": NAME, **fields}
    redis.hset(f"rq:job:{job_id}", mapping=mapping)
    redis.rpush(f"rq:queue:{NAME}", job_id)


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module that leaves a file where it is imported."""
    (tmp_path / "evil.py").write_text("open(__file__ + '.ran', 'w').close()\n\n\ndef called(*_):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "evil.py.ran"
    sys.modules.pop("evil", None)


@pytest.fixture
def called_urls() -> Iterator[list[str]]:
    """The paths that were asked for at a server of the attacker's, whose URL is the first."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        paths.append(f"http://127.0.0.1:{server.server_address[1]}")
        yield paths
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_call_is_dropped_and_the_next_job_is_done(
    worker: DeliverWorker, courier: Courier, redis: Redis, queue: Queue, evil: Path, name: str
) -> None:
    forge(redis, FORGED[name], **EVIL)
    push(redis)
    work(worker, courier)
    assert len(courier.jobs) == 1 and not evil.exists()
    assert keys(redis, "rq:job:*") == set()
    assert redis.llen(queue.intermediate_queue_key) == 0


@pytest.mark.parametrize(
    "data",
    [b"", b"not zipped", zlib.compress(b"[" * 100_000), zlib.compress(b" " * 50_000_000), zlib.compress(b"")[:-1]],
)
def test_bytes_that_are_no_job_are_dropped(worker: DeliverWorker, courier: Courier, redis: Redis, data: bytes) -> None:
    forge(redis, data)
    push(redis)
    work(worker, courier)
    assert len(courier.jobs) == 1
    assert keys(redis, "rq:job:*") == set()


def test_a_forged_job_that_fails_imports_nothing_and_posts_nowhere(
    worker: DeliverWorker, redis: Redis, queue: Queue, courier: Courier, evil: Path, called_urls: list[str]
) -> None:
    url = called_urls[0]
    hooks = [{"url": url, "job_status": status, "method": "POST", "timeout": 3} for status in ("failed", "finished")]
    forge(redis, (DELIVER, None, [{"v": 2, "created": "boom"}], {}), **{**EVIL, "webhooks": json.dumps(hooks)})
    forge(redis, (DELIVER, None, ["not an object"], {}), "another", **{**EVIL, "webhooks": json.dumps(hooks)})
    push(redis)
    work(worker, courier)
    assert len(courier.jobs) == 1
    assert set(FailedJobRegistry(queue=queue).get_job_ids()) == {"forged", "another"}
    assert not evil.exists() and called_urls == [url]


def test_our_own_payload_is_carried_out_whatever_stands_beside_it(
    worker: DeliverWorker, redis: Redis, courier: Courier, evil: Path
) -> None:
    forge(redis, (DELIVER, None, [GOOD], {}), **EVIL)
    work(worker, courier)
    assert [job.sends[0].timer for job in courier.jobs] == ["welcome|p:u1"]
    assert not evil.exists() and keys(redis, "rq:job:*") == set()


@pytest.mark.parametrize("job_id", ["a:b", "../x", "x" * 5000, "with space", "\x1b[31m"])
def test_an_id_that_nobody_gives_costs_the_job_alone(
    worker: DeliverWorker, redis: Redis, courier: Courier, job_id: str
) -> None:
    forge(redis, (DELIVER, None, [GOOD], {}), job_id)
    redis.rpush(f"rq:queue:{NAME}", "a-list")
    redis.lpush("rq:job:a-list", "x")
    push(redis)
    work(worker, courier)
    assert courier.jobs[-1].sends[0].timer.startswith("welcome|p:u0")


def test_what_a_dead_worker_left_is_listed_as_failed_without_acting_on_it(
    worker: DeliverWorker, redis: Redis, queue: Queue, courier: Courier, evil: Path, called_urls: list[str]
) -> None:
    hooks = json.dumps([{"url": called_urls[0], "job_status": "failed", "method": "POST", "timeout": 3}])
    forge(redis, (DELIVER, None, [GOOD], {}), **{**EVIL, "webhooks": hooks})
    redis.lmove(f"rq:queue:{NAME}", queue.intermediate_queue_key)
    # A minute ago.
    redis.set(queue.intermediate_queue.get_first_seen_key("forged"), 1)
    # What RQ would take for a job that a worker abandoned.
    forge(redis, (DELIVER, None, [GOOD], {}), "abandoned", **{**EVIL, "webhooks": hooks})
    redis.lpop(f"rq:queue:{NAME}")
    redis.zadd(f"rq:wip:{NAME}", {"abandoned:execution": 1})
    worker.clean_registries()
    worker.clean_group_registries()
    assert FailedJobRegistry(queue=queue).get_job_ids() == ["forged"]
    assert redis.llen(queue.intermediate_queue_key) == 0
    assert not evil.exists() and len(called_urls) == 1 and courier.jobs == []


def test_when_redis_is_back_that_is_noted_before_the_next_job(
    worker: DeliverWorker, redis: Redis, courier: Courier, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    answers: list[type[Exception]] = [RedisConnectionError, RedisTimeoutError]

    def fail_at_first(burst: bool) -> None:
        if answers:
            raise answers.pop()

    monkeypatch.setattr(worker, "check_for_suspension", fail_at_first)
    monkeypatch.setattr("workers.rq_worker.RECONNECT_PAUSE_S", 0)
    worker.after_outage = lambda: happened.append("back")
    courier.then = lambda: happened.append("job")
    push(redis)
    work(worker, courier)
    assert happened == ["back", "back", "job"]


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
    work(worker, courier)
    assert len(courier.jobs) == 20
    # Registering the worker writes one as well; a slow machine may get to a third.
    assert 1 <= len(beats) < 5


def test_a_suspended_worker_takes_no_job(worker: DeliverWorker, courier: Courier, redis: Redis) -> None:
    push(redis)
    suspend(redis)
    work(worker, courier)
    assert courier.jobs == []
    resume(redis)
    worker = DeliverWorker(worker.queues, connection=redis, serializer=JSONSerializer)
    work(worker, courier)
    assert len(courier.jobs) == 1


def test_a_worker_told_to_stop_while_it_finishes_a_job_finishes_it_first(
    worker: DeliverWorker, courier: Courier, redis: Redis, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(redis)
    execute = Pipeline.execute

    def stop_and_execute(pipe: Pipeline, *arguments: Any, **options: Any) -> Any:
        if any(command[0][0] == "LREM" for command in pipe.command_stack):
            worker.request_stop(signal.SIGTERM, None)
        return execute(pipe, *arguments, **options)

    monkeypatch.setattr(Pipeline, "execute", stop_and_execute)
    # Keeps the signal handlers of the test process.
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    work(worker, courier)
    assert len(courier.jobs) == 1
    assert keys(redis, "rq:job:*") == set()
    assert redis.llen(queue.intermediate_queue_key) == 0


def test_every_queue_of_the_account_is_served_and_nothing_is_left_in_any(
    worker: DeliverWorker, courier: Courier, redis: Redis
) -> None:
    for number, name in enumerate(queue_names("test")):
        push(redis, number, name)
    work(worker, courier)
    assert {job.sends[0].timer[-1] for job in courier.jobs} == set("0123")
    assert keys(redis, "rq:job:*") == keys(redis, "rq:queue:*") == set()


def test_transactional_jobs_are_taken_first_and_marketing_and_timers_in_their_turns(
    worker: DeliverWorker, courier: Courier, redis: Redis
) -> None:
    orders, order_timers, offers, offer_timers = queue_names("test")
    for number in range(40):
        for digit, name in enumerate((orders, order_timers, offers, offer_timers)):
            push(redis, 10 * number + digit, name)
    work(worker, courier)
    taken = "".join(job.sends[0].timer[-1] for job in courier.jobs)
    # Half of the turns ask for what timers brought first, one of seven for marketing; lanes may overtake each other.
    assert taken.count("0", 0, 40) > 5 and taken.count("1", 0, 40) > 5
    assert taken.count("2", 0, 80) + taken.count("3", 0, 80) > 5
    assert taken.index("3") < 80 and taken.index("2") < 80
    # Were all queues alike, both means would be 80.
    first, last = (mean(turn for turn, digit in enumerate(taken) if digit in digits) for digits in ("01", "23"))
    assert first < 70 and last > 90, (first, last)


def test_a_job_that_fails_is_listed_with_its_own_queue(worker: DeliverWorker, courier: Courier, redis: Redis) -> None:
    name = queue_name("test", marketing=True, timers=True)
    failing = push(redis, 1, name)

    def fail() -> None:
        raise RuntimeError

    courier.then = fail
    work(worker, courier)
    queue = DeliverQueue(name, connection=redis, serializer=JSONSerializer)
    assert FailedJobRegistry(queue=queue).get_job_ids() == [failing]
    assert redis.llen(queue.intermediate_queue_key) == 0
