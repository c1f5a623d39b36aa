"""The one door to Redis: the function library and the client's limits.

`planner.py` says what is written; `workers/` reads, claims and settles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, cast

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from freshgate.clock import now_ms
from freshgate.errors import StoreUnavailable
from freshgate.state import cluster, keys
from freshgate.state.clock import RedisClock
from freshgate.state.connections import Client, FailoverPool

# In this order: a function stands below those that it calls.
_FILES = (
    "library", "cart", "members", "erasure", "moves", "identity", "subjects",
    "dedupe", "purchases", "limits", "record", "read", "people", "outcomes", "sends", "claim", "feedback", "timers",
    "unmapped", "rates", "account",
)  # fmt: skip
# No other file uses what these define. A block of its own for each, since Lua takes 200 local names side by side.
_BLOCKS = frozenset({"record", "people", "feedback", "timers", "unmapped", "account"})
LAYOUT_VERSION = b"5"
# Libraries of other releases stay for as long as a host may still run one of them.
LIBRARY_TTL_S = 7 * 86_400
GAP_TTL_MS = 86_400_000
# Shares of maxmemory above which events are refused: the rest is for settling what is recorded. Pages stop first.
MAX_MEMORY = 0.85
MAX_MEMORY_OF_PAGES = 0.7
# A host's clock that is further off is a fault, though no decision is made by it.
MAX_SKEW_S = 1.0
LIBRARIES = keys.PREFIX + "libraries"
T = TypeVar("T")


def connect(
    url: str, timeout_s: float | None = 1.0, pool: int = 64, *, queue_url: str = "", fails_fast: bool = False
) -> redis.Redis:
    """A client that never repeats a command by itself: a blind second EXEC would push a job twice.

    The timeout bounds connecting and each answer, so that a hanging Redis costs a request a second, not a minute.

    url         of a Redis, or of a Cluster: `cluster.py`
    queue_url   of the Redis with RQ's queues; only beside a Cluster
    fails_fast  for a server of many callers: see `FailoverPool`
    """
    if cluster.is_cluster(url):
        client = cluster.connect(url, queue_url, lambda node: connect(node, timeout_s, pool, fails_fast=fails_fast))
        # It has the methods of a client that this project calls, and no others.
        return cast("redis.Redis", client)
    pool_of_connections = FailoverPool.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 0),
        max_connections=pool,
        protocol=2,
        fails_fast=fails_fast,
    )
    return Client.from_pool(pool_of_connections)


@cache
def library() -> tuple[str, str]:
    """The function library: the prefix of its names, which follows from its content, and its text.

    So hosts of two releases work side by side, each with its own functions.
    """
    folder = Path(__file__).parent / "lua"
    texts = {name: (folder / f"{name}.lua").read_text() for name in _FILES}
    text = "\n".join(f"do\n{text}\nend" if name in _BLOCKS else text for name, text in texts.items())
    prefix = f"fg{blake2b(text.encode(), digest_size=4).hexdigest()}_"
    return prefix, f"#!lua name={prefix}lib\n" + text.replace("register_function('fg_", f"register_function('{prefix}")


def nodes(client: redis.Redis) -> list[redis.Redis]:
    """Clients of the nodes that take writes: of a Cluster its primaries, else the one."""
    return client.primaries() if isinstance(client, cluster.ClusterClient) else [client]


def scan(client: redis.Redis, pattern: str, count: int) -> Iterator[list[bytes]]:
    """The names of keys, about `count` at a time; of a Cluster one node after the other."""
    for node in nodes(client):
        cursor = 0
        while True:
            reply: Any = node.scan(cursor, match=pattern, count=count)
            cursor, names = reply
            if names:
                yield names
            if cursor == 0:
                break


def load(client: redis.Redis) -> None:
    """Loads the functions, which are persisted and replicated with the data; needs Redis 7 or Valkey.

    Removes libraries that no process has loaded for a week. Raises StoreUnavailable for the data of another layout.
    """
    _require_layout(client)
    prefix, text = library()
    for node in nodes(client):
        node.function_load(text, replace=True)
    now = redis_now_ms(client) // 1000
    client.zadd(LIBRARIES, {f"{prefix}lib": now})
    old: Any = client.zrangebyscore(LIBRARIES, "-inf", now - LIBRARY_TTL_S)
    for name in old:
        for node in nodes(client):
            try:
                node.function_delete(name.decode())
            except ResponseError as error:
                if "not found" not in str(error):
                    raise
        client.zrem(LIBRARIES, name)


def redis_now_ms(client: redis.Redis) -> int:
    """The time by Redis' clock (ms UTC)."""
    seconds, micros = client.time()
    return seconds * 1000 + micros // 1000


def _require_layout(client: redis.Redis) -> None:
    layout: Any = client.get(keys.LAYOUT)
    if layout is None:
        # The first layout had 64 shards instead of shops, and never ran on a Cluster. A store is asked once.
        shards = f"{keys.PREFIX}{{s[0-9][0-9]}}:*"
        if not isinstance(client, cluster.ClusterClient) and any(client.scan_iter(shards, count=1000)):
            layout = b"1"
        else:
            client.set(keys.LAYOUT, LAYOUT_VERSION, nx=True)
            layout = LAYOUT_VERSION
    if layout != LAYOUT_VERSION:
        raise StoreUnavailable(
            f"this Redis holds data of layout {layout.decode()}, and this release needs {LAYOUT_VERSION.decode()}: "
            "set FRESHGATE_REDIS_URL to an empty one, or empty this one"
        )


def add_shops(client: redis.Redis, id_spaces: Iterable[str]) -> None:
    """Makes shops known, so that their timers are claimed and operators see their sends."""
    client.sadd(keys.SHOPS, *id_spaces)


def open_shops(client: redis.Redis, id_spaces: Iterable[str]) -> None:
    """A receiver begins to take events of these shops: makes them known, and says that events were not taken before.

    What was sent meanwhile comes again: mails that wait settle first.
    """
    names = sorted(set(id_spaces))
    add_shops(client, names)
    _note_gaps(client, names)


def note_outage(client: redis.Redis) -> None:
    """Redis was away, so events of every shop were refused and come again: mails that wait settle first."""
    _note_gaps(client, shops(client))


def _note_gaps(client: redis.Redis, names: Iterable[str]) -> None:
    for name in names:
        # No events, and word that some were refused.
        with_library(client, lambda name=name: fcall(client, "record", keys.shop(name), "", 1, ""))  # type: ignore[misc]


def shops(client: redis.Redis) -> list[str]:
    """The names of all shops that were ever made known."""
    members: Any = client.smembers(keys.SHOPS)
    return sorted(name.decode() for name in members)


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


def fcall(client: Any, name: str, key: str, *args: Any) -> Any:
    """One function of the library, on a client or a pipeline. `key` is a shop's prefix: see `keys.shop`."""
    return client.execute_command("FCALL", library()[0] + name, 1, key, *args)


def check(client: redis.Redis) -> tuple[list[str], list[str]]:
    """What keeps this Redis, or a node of a Cluster, from being fit for durable state; and what it does not do although
    it is fit."""
    problems, notes = [], []
    try:
        for node in nodes(client):
            node_problems, node_notes = _check_node(node)
            problems += [text for text in node_problems if text not in problems]
            notes += [text for text in node_notes if text not in notes]
    except RedisError as error:
        return [f"redis: {type(error).__name__}"], []
    return problems, notes


def _check_node(client: redis.Redis) -> tuple[list[str], list[str]]:
    info: dict[str, Any] = client.info("everything")
    problems, notes = [], []
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
    if used_share(info) > MAX_MEMORY:
        problems.append(f"redis: more than {MAX_MEMORY:.0%} of maxmemory is used: events are refused")
    elif used_share(info) > MAX_MEMORY_OF_PAGES:
        # The receiver stays in the load balancer: servers' events are taken.
        notes.append(f"redis: more than {MAX_MEMORY_OF_PAGES:.0%} of maxmemory is used: pages' events are refused")
    skew_s = (now_ms() - int(info["server_time_usec"]) // 1000) / 1000
    if abs(skew_s) > MAX_SKEW_S:
        problems.append(f"clock: this host is {abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} Redis")
    return problems, notes


class Headroom:
    """Whether Redis has room for more events. What is left above the limit is for the workers, who must settle; and
    what pages may not take is for servers.

    Asked at most once in `interval_s`, by whoever comes by; a hint, so threads need no lock. Sets `clock` on the way.
    Without a `maxmemory` there is no limit to keep away from.
    """

    def __init__(self, client: redis.Redis, clock: RedisClock, interval_s: float = 1.0) -> None:
        self._client = client
        self._clock = clock
        self._interval_s = interval_s
        self._asked = -interval_s
        self._used = 0.0

    def require(self, *, trusted: bool = True) -> None:
        """Raises StoreUnavailable above the limit, RedisError when Redis does not answer.

        trusted  False for a source whose key anybody can read
        """
        now = time.monotonic()
        if now - self._asked >= self._interval_s:
            self._asked = now
            self.poll()
        limit = MAX_MEMORY if trusted else MAX_MEMORY_OF_PAGES
        if self._used > limit:
            raise StoreUnavailable(f"redis: more than {limit:.0%} of maxmemory is used; raise it")

    def poll(self) -> None:
        """Asks Redis for its memory and its time; of a Cluster the fullest node counts. Raises RedisError."""
        used = []
        all_nodes = nodes(self._client)
        for node in all_nodes:
            pipe = node.pipeline(transaction=False)
            pipe.info("memory")
            pipe.time()
            try:
                info, (seconds, micros) = pipe.execute()
            except RedisError:
                # Whose shops are on another node need not notice.
                if len(all_nodes) == 1:
                    raise
                continue
            self._clock.set(seconds * 1000 + micros // 1000)
            used.append(used_share(info))
        self._used = max(used, default=0.0)


def used_share(info: Mapping[str, Any]) -> float:
    """How much of `maxmemory` is used, of Redis' INFO; 0 where there is no limit."""
    limit = int(info.get("maxmemory") or 0)
    return int(info["used_memory"]) / limit if limit else 0.0


def unavailable(error: RedisError) -> StoreUnavailable:
    """Redis' own word for it, without a value in it."""
    return StoreUnavailable(f"redis: {type(error).__name__}: {str(error)[:80]}")
