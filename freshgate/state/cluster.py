"""A Redis Cluster behind the interface of one client: each command goes to the node that has its key's slot.

`store.connect` returns it for a `redis+cluster://` URL. RQ knows no Cluster, so keys of its queues go to a Redis of
their own. redis-py's own cluster client asks a node which keys an FCALL has, each time; here the first key tells.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, Self, TypeVar

import redis
from redis.commands.core import CoreCommands
from redis.crc import key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    RedisError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)

log = logging.getLogger(__name__)

SCHEMES = ("redis+cluster://", "rediss+cluster://")
# Keys of RQ.
QUEUE_PREFIX = "rq:"
MAX_MOVES = 3
# After a failed trip, the slots are asked for again, at most once in this time.
REFRESH_INTERVAL_S = 0.5
# Commands whose key is not their first argument.
_KEY_POSITIONS = {"FCALL": 3, "FCALL_RO": 3, "EVAL": 3, "EVALSHA": 3, "OBJECT": 2, "MEMORY USAGE": 1}
# Commands without a key: any node may answer, so that of the trigger's hold list does.
_KEYLESS = frozenset({"TIME", "INFO", "PING", "CONFIG GET", "CONFIG SET", "SCRIPT FLUSH"})
_HOME = "fg:hold"
# Commands that mean one node: `primaries` has them.
_NODE_COMMANDS = frozenset({"FUNCTION", "SCAN", "KEYS", "FLUSHDB", "FLUSHALL", "DBSIZE", "CLUSTER"})
T = TypeVar("T")
Connect = Callable[[str], redis.Redis]
_Commands: Any = CoreCommands


class SlotMoving(RedisError):
    """The slot is on its way to another node. Half of a shop's records are elsewhere, so nothing may be decided."""


class Cluster:
    """Which node has which slot. Thread-safe: a table is replaced as a whole.

    urls     of some of the nodes
    connect  makes the client of a node's URL
    """

    def __init__(self, urls: Sequence[str], connect: Connect) -> None:
        self._connect = connect
        self._head = urls[0].rpartition("@")[0] + "@" if "@" in urls[0] else urls[0].partition("://")[0] + "://"
        self._seeds = tuple(urls)
        self._clients: dict[str, redis.Redis] = {}
        self._slots: list[str] = []
        self._lock = threading.Lock()
        self._refreshed_at = float("-inf")

    def client_of(self, key: str) -> redis.Redis:
        """The client of the node that has the key. Raises RedisError where no node answers."""
        if not self._slots:
            self.refresh()
        return self._client(self._slots[slot_of(tag_of(key))])

    def primaries(self) -> list[redis.Redis]:
        if not self._slots:
            self.refresh()
        return [self._client(url) for url in dict.fromkeys(self._slots)]

    def follow(self, moved: MovedError) -> redis.Redis:
        """The client of the node that has the slot now."""
        self.refresh()
        return self._client(self._url(moved.host, moved.port))

    def distrust(self) -> None:
        """A trip failed: its node may be down, and another have its slots by now."""
        if time.monotonic() - self._refreshed_at > REFRESH_INTERVAL_S and not self._lock.locked():
            try:
                self.refresh()
            except RedisError as error:
                log.warning("cluster_unknown: %s", type(error).__name__)

    def refresh(self) -> None:
        """Asks the nodes, until one answers. Raises RedisError of the last one."""
        with self._lock:
            self._refreshed_at = time.monotonic()
            failure: RedisError = RedisConnectionError("no node of the Cluster is known")
            for url in dict.fromkeys([*self._slots, *self._seeds]):
                try:
                    node: Any = self._client(url)
                    ranges: Any = node.execute_command("CLUSTER SLOTS")
                    slots = self._table(ranges, url)
                except RedisError as error:
                    failure = error
                    continue
                if slots:
                    self._slots = slots
                    return
                failure = ClusterDownError("some slots of the Cluster have no node")
            raise failure

    def close(self) -> None:
        for client in list(self._clients.values()):
            client.close()

    def _table(self, ranges: Any, asked: str) -> list[str]:
        slots = [""] * 16384
        # [first, last, [host, port, …] of the primary, …] each.
        for first, last, (name, port, *_), *_ in ranges:
            host = name.decode() if isinstance(name, bytes) else name
            # A node that knows no name of its own means itself.
            url = self._url(host or asked.rpartition("@")[2].rpartition("/")[2].rpartition(":")[0], port)
            slots[first : last + 1] = [url] * (last + 1 - first)
        return slots if all(slots) else []

    def _url(self, host: str, port: int) -> str:
        return f"{self._head}{f'[{host}]' if ':' in host else host}:{port}"

    def _client(self, url: str) -> redis.Redis:
        client = self._clients.get(url)
        if client is None:
            client = self._clients.setdefault(url, self._connect(url))
        return client


class ClusterClient(_Commands):  # type: ignore[misc]  # redis-py types its commands for clients of its own
    """Sends each command to the node of its key, and commands on RQ's keys to the Redis of the queues.

    A slot that has moved is followed. One that is moving is not: functions reach keys that they do not name, which
    then are on two nodes, so such a command fails with SlotMoving until the move is over.
    """

    def __init__(self, topology: Cluster, queues: redis.Redis | None) -> None:
        self.topology = topology
        self._queues = queues

    @property
    def queues(self) -> Any:
        """The Redis of the queues; operators' commands need none."""
        if self._queues is None:
            raise RedisConnectionError("queue_redis_url is not set")
        return self._queues

    @property
    def connection_pool(self) -> Any:
        return self._home().connection_pool

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        key = key_of(arguments)
        if key.startswith(QUEUE_PREFIX):
            return self.queues.execute_command(*arguments, **options)
        return self.guarded(lambda: self._execute(key, arguments, options))

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> ClusterPipeline:
        return ClusterPipeline(self, transaction=transaction)

    def primaries(self) -> list[redis.Redis]:
        """A client of each node that takes writes."""
        return self.guarded(self.topology.primaries)

    def close(self) -> None:
        self.topology.close()
        if self._queues:
            self._queues.close()

    def _home(self) -> redis.Redis:
        return self.topology.client_of(_HOME)

    def _execute(self, key: str, arguments: Sequence[Any], options: dict[str, Any]) -> Any:
        client: Any = self.topology.client_of(key)
        for _ in range(MAX_MOVES):
            try:
                return client.execute_command(*arguments, **options)
            except MovedError as moved:
                client = self.topology.follow(moved)
        return client.execute_command(*arguments, **options)

    def guarded(self, call: Callable[[], T]) -> T:
        """Whatever fails in a way that another node may mend makes the next trip look for that node."""
        try:
            return call()
        except (AskError, TryAgainError) as error:
            if isinstance(error, MovedError):
                raise
            raise SlotMoving("a slot is on its way to another node") from error
        except (RedisConnectionError, RedisTimeoutError, ClusterDownError):
            self.topology.distrust()
            raise


class ClusterPipeline(_Commands):  # type: ignore[misc]  # as above
    """Commands for several nodes: one trip to each, in the order in which they were first named; RQ's queues last.

    A transaction holds for the commands of one node. Nothing is repeated but what a node refused since it does not have
    the slot any more.
    """

    def __init__(self, client: ClusterClient, *, transaction: bool) -> None:
        self._client = client
        self._transaction = transaction
        self._commands: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.reset()

    def __len__(self) -> int:
        return len(self._commands)

    def execute_command(self, *arguments: Any, **options: Any) -> Self:
        self._commands.append((arguments, options))
        return self

    def reset(self) -> None:
        self._commands = []

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands, self._commands = self._commands, []
        replies: list[Any] = [None] * len(commands)
        keys = [key_of(arguments) for arguments, _ in commands]
        queued = [place for place, key in enumerate(keys) if key.startswith(QUEUE_PREFIX)]
        remaining = [place for place, key in enumerate(keys) if not key.startswith(QUEUE_PREFIX)]
        for _ in range(MAX_MOVES):
            remaining = self._client.guarded(partial(self._trips, commands, keys, remaining, replies))
            if not remaining:
                break
            self._client.topology.refresh()
        failed = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if isinstance(failed, (AskError, TryAgainError)) and not isinstance(failed, MovedError):
            failed = SlotMoving("a slot is on its way to another node")
        if failed and raise_on_error:
            # What is not recorded must not be queued.
            raise failed
        if queued:
            self._trip(self._client.queues, commands, queued, replies)
            failed = next((replies[place] for place in queued if isinstance(replies[place], Exception)), None)
            if failed and raise_on_error:
                raise failed
        return replies

    def _trips(
        self, commands: Sequence[Any], keys: Sequence[str], places: Sequence[int], replies: list[Any]
    ) -> list[int]:
        """Sends these commands. Returns those that their node did not have the slot of."""
        by_node: dict[int, tuple[redis.Redis, list[int]]] = {}
        for place in places:
            client = self._client.topology.client_of(keys[place])
            by_node.setdefault(id(client), (client, []))[1].append(place)
        for client, chosen in by_node.values():
            self._trip(client, commands, chosen, replies)
        return [place for place in places if isinstance(replies[place], MovedError)]

    def _trip(self, client: redis.Redis, commands: Sequence[Any], places: Sequence[int], replies: list[Any]) -> None:
        pipe: Any = client.pipeline(transaction=self._transaction)
        for place in places:
            arguments, options = commands[place]
            pipe.execute_command(*arguments, **options)
        for place, reply in zip(places, pipe.execute(raise_on_error=False), strict=True):
            replies[place] = reply


def connect(url: str, queue_url: str, connect_node: Connect) -> ClusterClient:
    """`redis+cluster://user:password@host:port,host:port`: some nodes; the others are asked for."""
    scheme, _, rest = url.partition("+cluster://")
    login, at, hosts = rest.rpartition("@")
    urls = [f"{scheme}://{login}{at}{host.strip()}" for host in hosts.strip("/").split(",")]
    return ClusterClient(Cluster(urls, connect_node), connect_node(queue_url) if queue_url else None)


def is_cluster(url: str) -> bool:
    return url.startswith(SCHEMES)


def key_of(arguments: Sequence[Any]) -> str:
    """The first key of a command. Raises ValueError for one without a key that no single node can answer."""
    name = str(arguments[0]).upper()
    if name in _KEYLESS or name.split(" ")[0] in _KEYLESS:
        return _HOME
    place = _KEY_POSITIONS.get(name, 1)
    if place >= len(arguments) or name.split(" ")[0] in _NODE_COMMANDS:
        raise ValueError(f"{name} goes to no single node of a Cluster")
    key = arguments[place]
    return key.decode() if isinstance(key, bytes) else str(key)


def tag_of(key: str) -> str:
    """What the slot follows from: the text between the first braces, or the whole key."""
    start = key.find("{")
    end = key.find("}", start + 1)
    return key[start + 1 : end] if start >= 0 and end > start + 1 else key


@lru_cache(maxsize=4096)
def slot_of(tag: str) -> int:
    return int(key_slot(tag.encode()))
