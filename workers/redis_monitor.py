"""Reads from Redis what no single process can count: queues, workers, timers, sends to review, Redis' own health.

A thread of the timers process polls every few seconds; its cost does not depend on how many jobs there ever were.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import redis
from redis.exceptions import RedisError

from freshgate.declare import Trigger
from freshgate.routing import Routes
from freshgate.state import keys
from freshgate.state.operations import OPERATIONS
from freshgate.state.restored import holds_of
from freshgate.state.store import fcall, nodes, redis_now_ms, shops, used_share, with_library
from freshgate.telemetry import logs, metrics
from workers.account_monitor import AccountMonitor

log = logs.get(__name__)

POLL_INTERVAL_S = 5.0
# A busy worker sends no heartbeat until its job is done, which takes 30 s at most.
SILENT_AFTER_S = 60.0
OVERDUE_AFTER_MS = 1000
# The objective of 5 s: what is due for longer and has not ended will be late, or is.
LATE_AFTER_MS = 5000
# Looks back at mails that have left; it is no send.
LOOKBACK = b"lookback"


class RedisMonitor:
    """Polls one Redis and the queues that workers serve: `poll` once, `run` until told to stop."""

    def __init__(
        self,
        client: redis.Redis,
        queues: Sequence[str],
        accounts: AccountMonitor | None = None,
        shops_with_outcomes: Sequence[str] = (),
        triggers: Iterable[Trigger] = (),
    ) -> None:
        self._shops_with_outcomes = shops_with_outcomes
        # Mails without a delay wait for no gap.
        self._settles_ms = {trigger.name: trigger.settle_ms for trigger in triggers if trigger.delay}
        self._client = client
        self._queues = queues
        self._accounts = accounts or AccountMonitor(client, Routes(["sendgrid"]), (), {})

    def start(self, stopped: threading.Event) -> None:
        """Runs in a thread that ends with the process: a hanging Redis must not make timers late."""
        threading.Thread(target=self.run, args=(stopped,), name="redis-monitor", daemon=True).start()

    def run(self, stopped: threading.Event) -> None:
        """Polls until `stopped` is set. A Redis that is away is logged, and asked again."""
        while not stopped.is_set():
            try:
                self.poll()
            except RedisError as error:
                log.warning("redis_unavailable", error=type(error).__name__)
            stopped.wait(POLL_INTERVAL_S)

    def poll(self) -> None:
        """Sets every polled metric. On RedisError, which it raises, all are cleared but `freshgate_redis_up`, now 0."""
        try:
            started = time.perf_counter()
            now_ms = redis_now_ms(self._client)
            self._accounts.poll(now_ms)
            self._poll_timers(now_ms)
            self._poll_gaps(now_ms)
            self._poll_queues(now_ms)
            self._poll_outcomes(now_ms)
            self._poll_workers(now_ms)
            self._poll_server()
            metrics.REDIS_POLL.set(time.perf_counter() - started)
            metrics.REDIS_UP.set(1)
        except RedisError:
            for metric in metrics.POLLED_METRICS:
                metric.set({})
            metrics.REDIS_UP.set(0)
            raise

    def _poll_timers(self, now_ms: int) -> None:
        waiting = overdue = leases = late = 0
        oldest = now_ms
        # What waits for its account says nothing about the timers processes.
        for_account = self._accounts.no_mails_waiting()
        reviews = dict.fromkeys(keys.OPERATOR_LISTS, 0)
        for shop in shops(self._client):
            prefix = keys.shop(shop)
            triggers: Any = list(self._client.smembers(f"{prefix}triggers"))
            pipe = self._client.pipeline(transaction=False)
            for state in keys.OPERATOR_LISTS:
                pipe.zcard(keys.operator_list(shop, state))
            pipe.zcard(f"{prefix}leases")
            pipe.hgetall(f"{prefix}leased")
            for trigger in triggers:
                name = keys.timers(shop, trigger.decode())
                pipe.zcard(name)
                pipe.zcount(name, "-inf", now_ms - OVERDUE_AFTER_MS)
                pipe.zcount(name, "-inf", now_ms - LATE_AFTER_MS)
                pipe.zrange(name, 0, 0, withscores=True)
            unknown, dead, rejected, leased, dues, *timers = pipe.execute()
            for state, count in zip(keys.OPERATOR_LISTS, (unknown, dead, rejected), strict=True):
                reviews[state] += count
            leases += leased
            waiting += sum(timers[0::4])
            for trigger, over_a_second, over_objective, first in zip(
                triggers, timers[1::4], timers[2::4], timers[3::4], strict=True
            ):
                waits_for = self._accounts.waits_for(trigger.decode())
                if waits_for:
                    for_account[waits_for] += over_a_second
                else:
                    overdue += over_a_second
                    oldest = min([oldest, *(due for _, due in first)])
                # A mail that keeps to its pace is not late.
                if trigger != LOOKBACK and not (waits_for and waits_for[1] == "paced"):
                    late += over_objective
            late += sum(
                float(due) < now_ms - LATE_AFTER_MS
                for timer, due in dues.items()
                if not timer.startswith(LOOKBACK + b"|")
            )
        pipe = self._client.pipeline(transaction=False)
        pipe.smembers(keys.HOLD)
        pipe.hlen(keys.RESTORED)
        pipe.hgetall(keys.BACKUP)
        pipe.llen(keys.QUARANTINE)
        pipe.hgetall(keys.OPERATIONS)
        holds, is_restored, backup, quarantined, counts = pipe.execute()
        metrics.MAILS_WAITING.set(for_account)
        metrics.TIMERS_WAITING.set(waiting)
        metrics.TIMERS_OVERDUE.set(overdue)
        metrics.TIMERS_OLDEST_OVERDUE.set(max(0, now_ms - oldest) / 1000)
        metrics.LEASES.set(leases)
        metrics.SENDS_LATE.set(late)
        metrics.SENDS_TO_REVIEW.set({(state,): count for state, count in reviews.items()})
        metrics.HOLDS.set(len(holds_of(holds)))
        metrics.STORE_RESTORED.set(bool(is_restored))
        if b"at" in backup:
            age_ms, interval_ms = now_ms - int(backup[b"at"]), int(backup.get(b"interval", 0))
            metrics.BACKUP_AGE.set(max(0, age_ms) / 1000)
            metrics.BACKUP_OVERDUE.set(max(0, age_ms - interval_ms) / 1000 if interval_ms else {})
        metrics.QUARANTINED.set(quarantined)
        metrics.OPERATIONS.set({(name,): int(counts.get(name.encode(), 0)) for name in OPERATIONS})

    def _poll_gaps(self, now_ms: int) -> None:
        """How long mails wait since events were refused (`gate.py`, `after_gap`), and how many are due before then."""
        wait_ms = mails = 0
        for shop in shops(self._client):
            gap: Any = self._client.get(f"{keys.shop(shop)}gap")
            refused_at = int(gap.split()[0]) if gap else 0
            ends = {name: refused_at + settle_ms for name, settle_ms in self._settles_ms.items()}
            pipe = self._client.pipeline(transaction=False)
            for trigger, end in ends.items():
                if end > now_ms:
                    pipe.zcount(keys.timers(shop, trigger), "-inf", end)
            mails += sum(pipe.execute())
            wait_ms = max([wait_ms, *(end - now_ms for end in ends.values())])
        metrics.GAP_WAIT.set(wait_ms / 1000)
        metrics.GAP_MAILS.set(mails)

    def _poll_queues(self, now_ms: int) -> None:
        jobs: dict[tuple[str, ...], float] = {}
        age_s: dict[tuple[str, ...], float] = {}
        failed: dict[tuple[str, ...], float] = {}
        for queue in self._queues:
            pipe = self._client.pipeline(transaction=False)
            pipe.llen(f"rq:queue:{queue}")
            pipe.lindex(f"rq:queue:{queue}", 0)
            pipe.zcount(f"rq:failed:{queue}", now_ms // 1000, "+inf")
            jobs[(queue,)], oldest, failed[(queue,)] = pipe.execute()
            created: Any = self._client.hget(f"rq:job:{oldest.decode()}", "created_at") if oldest else None
            # Without a record a worker has just finished it, so the queue is not old.
            age_s[(queue,)] = max(0.0, now_ms / 1000 - _unix_time(created)) if created else 0.0
        metrics.QUEUE_JOBS.set(jobs)
        metrics.QUEUE_AGE.set(age_s)
        metrics.QUEUE_FAILED.set(failed)

    def _poll_outcomes(self, now_ms: int) -> None:
        rows = {(shop,): self._count_outcomes(keys.shop(shop)) for shop in self._shops_with_outcomes}
        metrics.OUTCOMES_WAITING.set({shop: waiting for shop, (waiting, _, _) in rows.items()})
        metrics.OUTCOMES_AGE.set(
            {shop: max(0, now_ms - int(oldest)) / 1000 if oldest else 0.0 for shop, (_, oldest, _) in rows.items()}
        )
        metrics.OUTCOMES_DROPPED.set({shop: dropped for shop, (_, _, dropped) in rows.items()})

    def _count_outcomes(self, key: str) -> tuple[int, bytes, int]:
        """How many wait, since when the oldest does (ms), and how many went unsent."""
        waiting, oldest, dropped = with_library(self._client, lambda: fcall(self._client, "count_outcomes", key))
        return waiting, oldest, dropped

    def _poll_workers(self, now_ms: int) -> None:
        """RQ registers each worker under its queue. One that was killed or hangs stays there after its key has expired,
        until another worker cleans up: it is silent, and not forgotten.
        """
        # A worker serves all queues of its account; it counts for the first, whose name the account has.
        queues = [queue for queue in self._queues if not queue.endswith((".timers", ".marketing"))]
        workers: dict[tuple[str, ...], float] = {
            (queue, state): 0 for queue in queues for state in metrics.WORKER_STATES
        }
        for queue in queues:
            names: Any = self._client.smembers(f"rq:workers:{queue}")
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.hmget(name, "last_heartbeat", "state")
            for heartbeat, state in pipe.execute():
                is_silent = heartbeat is None or now_ms / 1000 - _unix_time(heartbeat) > SILENT_AFTER_S
                workers[(queue, "silent" if is_silent else "busy" if state == b"busy" else "idle")] += 1
        metrics.WORKERS.set(workers)

    def _poll_server(self) -> None:
        # Of a Cluster the fullest node.
        infos: list[dict[str, Any]] = [node.info("everything") for node in nodes(self._client)]
        info = max(infos, key=used_share)
        metrics.REDIS_MEMORY.set(info["used_memory"])
        metrics.REDIS_MAX_MEMORY.set(info.get("maxmemory", 0))
        metrics.REDIS_EVICTED.set(info.get("evicted_keys", 0))
        metrics.REDIS_NOEVICTION.set(info.get("maxmemory_policy") == "noeviction")
        metrics.REDIS_AOF.set(info.get("aof_enabled", 0))
        metrics.REDIS_AOF_OK.set(info.get("aof_last_write_status", "ok") == "ok")
        metrics.REDIS_DELAYED_FSYNCS.set(info.get("aof_delayed_fsync", 0))
        metrics.REDIS_CLIENTS.set(info["connected_clients"])


def _unix_time(text: bytes) -> float:
    """Seconds, of a time as RQ writes it: `2024-05-01T12:00:00.000000Z`."""
    return datetime.fromisoformat(text.decode()).astimezone(UTC).timestamp()
