"""The one door to Redis: the function library and the client's limits.

`planner.py` says what is written, `merge.py` moves one person into another, `workers/` reads, claims and settles.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from freshgate.errors import StoreUnavailable
from freshgate.state.failover import FailoverPool

_FILES = ("library.lua", "merge.lua", "record.lua", "claim.lua", "timers.lua", "unmapped.lua")
BUCKET_MS = 12 * 3_600_000
T = TypeVar("T")


def connect(url: str, timeout_s: float | None = 1.0, pool: int = 64) -> redis.Redis:
    """A client that never repeats a command by itself: a blind second EXEC would push a job twice.

    The timeout bounds connecting and each answer, so that a hanging Redis costs a request a second, not a minute.
    """
    pool_of_connections = FailoverPool.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 0),
        max_connections=pool,
        protocol=2,
    )
    return redis.Redis.from_pool(pool_of_connections)


def library() -> str:
    """The text of the function library, as Redis loads it."""
    folder = Path(__file__).parent / "lua"
    return "#!lua name=freshgate1\n" + "\n".join((folder / name).read_text() for name in _FILES)


def load(client: redis.Redis) -> None:
    """Load the functions; they are persisted and replicated with the data. Needs Redis 7 or Valkey."""
    client.function_load(library(), replace=True)


def with_library(client: redis.Redis, call: Callable[[], T]) -> T:
    """Do it; where the server lost its functions (a fresh one, or FUNCTION FLUSH), load them and do it once more.

    A function that is missing has written nothing, so the second attempt cannot double anything.
    """
    try:
        return call()
    except ResponseError as error:
        if "unction not found" not in str(error):
            raise
    load(client)
    return call()


def fcall(client: Any, name: str, keys: list[str], *args: Any) -> Any:
    """One function of the library, on a client or a pipeline."""
    return client.execute_command("FCALL", name, len(keys), *keys, *args)


def check(client: redis.Redis) -> list[str]:
    """What keeps this Redis from being fit for durable state; empty when it is."""
    try:
        info: dict[str, Any] = client.info("everything")
    except RedisError as error:
        return [f"redis: {type(error).__name__}"]
    problems = []
    if info.get("loading"):
        problems.append("redis: loading its data")
    if not info.get("aof_enabled"):
        problems.append("redis: appendonly is off")
    if info.get("maxmemory_policy") != "noeviction":
        problems.append(f"redis: maxmemory-policy is {info.get('maxmemory_policy')}, must be noeviction")
    if info.get("role") != "master":
        problems.append("redis: this is a read-only replica")
        # Nobody sends events while this process says that it is not ready, so no write would find it out.
        if isinstance(client.connection_pool, FailoverPool):
            client.connection_pool.renew()
    if info.get("aof_last_write_status") == "err":
        problems.append("redis: the append-only file cannot be written")
    return problems


class Headroom:
    """Whether Redis has room for more events. What is left above the limit is for the workers, who must settle.

    Asked at most once in `every_s`, by whoever comes by; a hint, so threads need no lock. Without a `maxmemory`
    there is no limit to keep away from.
    """

    def __init__(self, client: redis.Redis, most: float = 0.85, every_s: float = 1.0) -> None:
        self._client = client
        self._most = most
        self._every_s = every_s
        self._asked = -every_s
        self._is_full = False

    def require(self) -> None:
        """Raises StoreUnavailable above the limit, RedisError when Redis does not answer."""
        now = time.monotonic()
        if now - self._asked >= self._every_s:
            self._asked = now
            info: dict[str, Any] = self._client.info("memory")
            limit = int(info.get("maxmemory") or 0)
            self._is_full = limit > 0 and int(info["used_memory"]) > self._most * limit
        if self._is_full:
            raise StoreUnavailable(f"redis: more than {self._most:.0%} of maxmemory is used; raise it")


def unavailable(error: RedisError) -> StoreUnavailable:
    """Redis' own word for it, without a value in it."""
    return StoreUnavailable(f"redis: {type(error).__name__}: {str(error)[:80]}")
