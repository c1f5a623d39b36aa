"""Reads from Redis what no process can count by itself: queues, workers, timers, the desk, Redis' own health.

A thread of the timers process looks every few seconds; its cost does not depend on how many jobs there ever were.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import redis
from redis.exceptions import RedisError

from freshgate.state import keys
from freshgate.telemetry import logs, metrics

log = logs.get(__name__)

POLL_INTERVAL_S = 5.0
# A worker at work says nothing until its job is done, which takes 30 s at most.
SILENT_AFTER_S = 60.0
OVERDUE_AFTER_MS = 1000
# Of each shard: how many timers, how many of them overdue, the first one, leases, unknown and dead sends.
PER_SHARD = 6


class Health:
    """One Redis and the queues that are worked on. `look` is one look; `run` looks until told to stop."""

    def __init__(self, client: redis.Redis, queues: Sequence[str]) -> None:
        self._client = client
        self._queues = queues

    def start(self, stopped: threading.Event) -> None:
        """In a thread that ends with the process: a hanging Redis must not make timers late."""
        threading.Thread(target=self.run, args=(stopped,), name="health", daemon=True).start()

    def run(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            try:
                self.look()
            except RedisError as error:
                log.warning("redis_unavailable", error=type(error).__name__)
            stopped.wait(POLL_INTERVAL_S)

    def look(self) -> None:
        """Sets every reading; raises RedisError, after which there is none but `freshgate_redis_up 0`."""
        try:
            begun = time.perf_counter()
            seconds, micros = self._client.time()
            now_ms = seconds * 1000 + micros // 1000
            self._timers(now_ms)
            self._queue_jobs(now_ms)
            self._workers(now_ms)
            self._store()
            metrics.REDIS_LOOK.set(time.perf_counter() - begun)
            metrics.REDIS_UP.set(1)
        except RedisError:
            for reading in metrics.POLLED_METRICS:
                reading.set({})
            metrics.REDIS_UP.set(0)
            raise

    def _timers(self, now_ms: int) -> None:
        pipe = self._client.pipeline(transaction=False)
        for timers in keys.all_timers():
            pipe.zcard(timers)
            pipe.zcount(timers, "-inf", now_ms - OVERDUE_AFTER_MS)
            pipe.zrange(timers, 0, 0, withscores=True)
            for other in ("leases", "unknown", "dead"):
                pipe.zcard(timers.removesuffix("timers") + other)
        pipe.scard(keys.HOLD)
        pipe.llen(keys.QUARANTINE)
        *replies, holds, quarantined = pipe.execute()
        waiting, overdue, firsts, leases, unknown, dead = (replies[at::PER_SHARD] for at in range(PER_SHARD))
        oldest = min((first[0][1] for first in firsts if first), default=now_ms)
        metrics.TIMERS_WAITING.set(sum(waiting))
        metrics.TIMERS_OVERDUE.set(sum(overdue))
        metrics.TIMERS_OLDEST_OVERDUE.set(max(0, now_ms - oldest) / 1000)
        metrics.LEASES.set(sum(leases))
        metrics.SENDS_TO_REVIEW.set({("unknown",): sum(unknown), ("dead",): sum(dead)})
        metrics.HOLDS.set(holds)
        metrics.QUARANTINED.set(quarantined)

    def _queue_jobs(self, now_ms: int) -> None:
        waiting: dict[tuple[str, ...], float] = {}
        age: dict[tuple[str, ...], float] = {}
        failed: dict[tuple[str, ...], float] = {}
        for queue in self._queues:
            pipe = self._client.pipeline(transaction=False)
            pipe.llen(f"rq:queue:{queue}")
            pipe.lindex(f"rq:queue:{queue}", 0)
            pipe.zcount(f"rq:failed:{queue}", now_ms // 1000, "+inf")
            waiting[(queue,)], head, failed[(queue,)] = pipe.execute()
            created: Any = self._client.hget(f"rq:job:{head.decode()}", "created_at") if head else None
            # Taken by a worker since: then the queue was not old.
            age[(queue,)] = max(0.0, now_ms / 1000 - _seconds(created)) if created else 0.0
        metrics.QUEUE_JOBS.set(waiting)
        metrics.QUEUE_AGE.set(age)
        metrics.QUEUE_FAILED.set(failed)

    def _workers(self, now_ms: int) -> None:
        """RQ registers each worker under its queue; one that was killed stays until its key runs out."""
        counted: dict[tuple[str, ...], float] = {
            (queue, state): 0 for queue in self._queues for state in metrics.WORKER_STATES
        }
        for queue in self._queues:
            names: Any = self._client.smembers(f"rq:workers:{queue}")
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.hmget(name, "last_heartbeat", "state")
            for beat, state in pipe.execute():
                if beat is None:
                    continue
                silent = now_ms / 1000 - _seconds(beat) > SILENT_AFTER_S
                counted[(queue, "silent" if silent else "busy" if state == b"busy" else "idle")] += 1
        metrics.WORKERS.set(counted)

    def _store(self) -> None:
        info: dict[str, Any] = self._client.info("everything")
        metrics.REDIS_MEMORY.set(info["used_memory"])
        metrics.REDIS_MAX_MEMORY.set(info.get("maxmemory", 0))
        metrics.REDIS_EVICTED.set(info.get("evicted_keys", 0))
        metrics.REDIS_NOEVICTION.set(info.get("maxmemory_policy") == "noeviction")
        metrics.REDIS_AOF.set(info.get("aof_enabled", 0))
        metrics.REDIS_AOF_OK.set(info.get("aof_last_write_status", "ok") == "ok")
        metrics.REDIS_DELAYED_FSYNCS.set(info.get("aof_delayed_fsync", 0))
        metrics.REDIS_CLIENTS.set(info["connected_clients"])


def _seconds(text: bytes) -> float:
    """Unix time of what RQ writes: `2024-05-01T12:00:00.000000Z`."""
    return datetime.fromisoformat(text.decode()).astimezone(UTC).timestamp()
