"""What is read from Redis for the boards: queues, workers, timers, the desk, and Redis itself.

`tests/dashboards/` holds the expressions that use it.
"""

from __future__ import annotations

import time
import tomllib
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from redis import Redis
from redis.exceptions import RedisError

from adapter.ingest import quarantine
from freshgate.queue import push
from freshgate.state import keys
from freshgate.telemetry import metrics
from freshgate.version import VERSION
from workers.redis_monitor import Health

QUEUE = "freshgate-test"


def served() -> dict[str, float]:
    """Everything that the timers process would serve: name and labels → value."""
    registry = CollectorRegistry()
    registry.register(metrics.PolledMetrics())
    lines = generate_latest(registry).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def look(redis: Redis) -> dict[str, float]:
    Health(redis, [QUEUE]).look()
    return served()


def test_an_empty_redis_is_healthy_and_nobody_works(redis: Redis) -> None:
    told = look(redis)
    assert told["freshgate_redis_up"] == 1
    assert told["freshgate_redis_used_memory_bytes"] > 0
    assert told["freshgate_redis_noeviction"] == told["freshgate_redis_aof_enabled"] == 1
    assert told[f'freshgate_queue_oldest_job_age_seconds{{queue="{QUEUE}"}}'] == 0
    assert told[f'freshgate_workers{{queue="{QUEUE}",state="idle"}}'] == 0
    assert told["freshgate_timers_oldest_overdue_seconds"] == told["freshgate_timers_overdue"] == 0


def test_every_reading_is_served_after_one_look(redis: Redis) -> None:
    names = {name.partition("{")[0] for name in look(redis)}
    assert names == {reading._name for reading in metrics.POLLED_METRICS}


def test_the_age_is_that_of_the_oldest_job(redis: Redis) -> None:
    for _ in range(3):
        pipe = redis.pipeline()
        push(pipe, QUEUE, [("welcome|p:u01", 1, 0)], now_ms())
        pipe.execute()
    first = redis.lindex(f"rq:queue:{QUEUE}", 0)
    assert isinstance(first, bytes)
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    redis.hset(f"rq:job:{first.decode()}", "created_at", hour_ago)
    told = look(redis)
    assert told[f'freshgate_queue_jobs{{queue="{QUEUE}"}}'] == 3
    assert 3599 <= told[f'freshgate_queue_oldest_job_age_seconds{{queue="{QUEUE}"}}'] < 3900


def test_workers_are_told_apart_by_heartbeat_and_state(redis: Redis) -> None:
    for name, state, age_s in (("one", "idle", 1), ("two", "busy", 1), ("three", "busy", 90)):
        beat = (datetime.now(UTC) - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        redis.hset(f"rq:worker:{name}", mapping={"last_heartbeat": beat, "state": state})
        redis.sadd(f"rq:workers:{QUEUE}", f"rq:worker:{name}")
    # Its key has run out, and only RQ's set still knows it.
    redis.sadd(f"rq:workers:{QUEUE}", "rq:worker:gone")
    told = look(redis)
    for state in ("idle", "busy", "silent"):
        assert told[f'freshgate_workers{{queue="{QUEUE}",state="{state}"}}'] == 1


def test_timers_the_desk_and_the_quarantine_are_counted(redis: Redis) -> None:
    one, other = keys.all_timers()[3], keys.all_timers()[40]
    redis.zadd(one, {"welcome|p:u01": now_ms() - 90_000, "welcome|p:u02": now_ms() + 90_000})
    redis.zadd(other, {"welcome|p:u03": now_ms() - 30_000})
    redis.zadd(other.replace("timers", "leases"), {"welcome|p:u04": now_ms()})
    redis.zadd(one.replace("timers", "unknown"), {"a": 1, "b": 2})
    redis.zadd(other.replace("timers", "dead"), {"c": 3})
    redis.sadd(keys.HOLD, "welcome")
    quarantine.keep(redis, quarantine.QuarantinedElement("segment", b"{}", 1))
    told = look(redis)
    assert told["freshgate_timers_waiting"] == 3
    assert told["freshgate_timers_overdue"] == 2
    assert 90 <= told["freshgate_timers_oldest_overdue_seconds"] < 390
    assert told["freshgate_leases_open"] == told["freshgate_holds"] == told["freshgate_quarantined_elements"] == 1
    assert told['freshgate_desk_sends{state="unknown"}'] == 2
    assert told['freshgate_desk_sends{state="dead"}'] == 1


def test_without_redis_nothing_is_told_but_that(redis: Redis) -> None:
    look(redis)
    gone = Redis.from_url("unix:///nowhere/redis.sock")
    with pytest.raises(RedisError):
        Health(gone, [QUEUE]).look()
    assert served() == {"freshgate_redis_up": 0}


def test_what_a_process_says_it_runs_is_the_version_of_the_project() -> None:
    setup = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    module, _, name = setup["tool"]["setuptools"]["dynamic"]["version"]["attr"].rpartition(".")
    assert "version" in setup["project"]["dynamic"]
    assert getattr(import_module(module), name) == VERSION
