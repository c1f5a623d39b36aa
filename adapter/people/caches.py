"""The read cache in front of the People API: in this process, in Redis, or in Memcached.

It holds documents by version, and Redis says with every request which version is the present one. So a cache that is
stopped, full, slow or wrong costs time and never truth. The gate reads none of this.
"""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from contextlib import suppress
from threading import Lock
from typing import Any, Protocol

import msgspec
import redis
from redis.exceptions import RedisError

from adapter.people.bounded_sockets import BoundedSockets
from adapter.people.document import Document
from freshgate.errors import SettingsError
from freshgate.settings_parsing import setting_name
from freshgate.state import keys
from freshgate.telemetry import logs, metrics

log = logs.get(__name__)

TTL_S = 600
MAX_DOCUMENTS = 2000
# How long Memcached may take, and how long it is left alone after it failed.
MEMCACHED_TIMEOUT_S = 0.05
PAUSE_S = 1.0
KINDS = ("memory", "redis", "off", "memcached://127.0.0.1:11211")


class CachedDocument(msgspec.Struct, frozen=True):
    """A document, when it was made (ms), and of which version of the state. `key` guards against another's entry."""

    key: str
    version: str
    document: Document
    at: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(CachedDocument).decode


class Cache(Protocol):
    """Documents by key. Never raises."""

    def get(self, key: str) -> CachedDocument | None: ...
    def put(self, entry: CachedDocument) -> None: ...


class NoCache:
    """Caches nothing."""

    def get(self, key: str) -> CachedDocument | None:
        return None

    def put(self, entry: CachedDocument) -> None:
        pass


class MemoryCache:
    """The newest documents of this process. Thread-safe."""

    def __init__(self, max_documents: int = MAX_DOCUMENTS) -> None:
        self._max_documents = max_documents
        self._entries: OrderedDict[str, CachedDocument] = OrderedDict()
        self._lock = Lock()

    def get(self, key: str) -> CachedDocument | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry:
                self._entries.move_to_end(key)
            return entry

    def put(self, entry: CachedDocument) -> None:
        with self._lock:
            self._entries[entry.key] = entry
            self._entries.move_to_end(entry.key)
            if len(self._entries) > self._max_documents:
                self._entries.popitem(last=False)


class Seal:
    """Signs what leaves this process, so that nobody else's bytes are taken for a person's.

    Memcached asks for no password; whoever can write it could else invent persons.
    """

    LENGTH = 16

    def __init__(self, pii_key: bytes) -> None:
        self._key = hmac.digest(pii_key, b"people cache", "sha256")

    def close(self, entry: CachedDocument) -> bytes:
        packed = _encode(entry)
        return hmac.digest(self._key, packed, "sha256")[: self.LENGTH] + packed

    def open(self, key: str, raw: bytes | None) -> CachedDocument | None:
        """The entry, or None for what is not ours, damaged, or another key's."""
        if not isinstance(raw, bytes):
            return None
        packed = raw[self.LENGTH :]
        if not hmac.compare_digest(hmac.digest(self._key, packed, "sha256")[: self.LENGTH], raw[: self.LENGTH]):
            return None
        try:
            entry = _decode(packed)
        except msgspec.DecodeError:
            return None
        return entry if entry.key == key else None


class RedisCache:
    """The documents in Redis, for all processes."""

    def __init__(self, client: redis.Redis, seal: Seal) -> None:
        self._client = client
        self._seal = seal

    def get(self, key: str) -> CachedDocument | None:
        with suppress(RedisError):
            raw: object = self._client.get(keys.PEOPLE_CACHE + key)
            return self._seal.open(key, raw if isinstance(raw, bytes) else None)
        return None

    def put(self, entry: CachedDocument) -> None:
        with suppress(RedisError):
            self._client.set(keys.PEOPLE_CACHE + entry.key, self._seal.close(entry), ex=TTL_S)


class MemcachedCache:
    """The documents in Memcached. After a fault it is left alone for a second: it costs its timeout once a second."""

    def __init__(self, host: str, port: int, seal: Seal) -> None:
        try:
            from pymemcache.client.base import PooledClient
            from pymemcache.exceptions import MemcacheError
        except ImportError:
            raise SettingsError(
                f"{setting_name('people_cache')}: pymemcache is missing; install it: pip install pymemcache"
            ) from None
        sockets: Any = BoundedSockets(MEMCACHED_TIMEOUT_S)
        self._client = PooledClient(
            (host, port),
            connect_timeout=MEMCACHED_TIMEOUT_S,
            timeout=MEMCACHED_TIMEOUT_S,
            max_pool_size=16,
            socket_module=sockets,
        )
        # The last two are pymemcache's where it cannot read what came.
        self._faults = (MemcacheError, OSError, ValueError, LookupError)
        self._seal = seal
        self._resume_at = 0.0

    def get(self, key: str) -> CachedDocument | None:
        if time.monotonic() < self._resume_at:
            return None
        try:
            return self._seal.open(key, self._client.get(key))
        except self._faults as error:
            self._pause(error)
            return None

    def put(self, entry: CachedDocument) -> None:
        if time.monotonic() < self._resume_at:
            return
        try:
            self._client.set(entry.key, self._seal.close(entry), expire=TTL_S, noreply=True)
        except self._faults as error:
            self._pause(error)

    def _pause(self, error: Exception) -> None:
        self._resume_at = time.monotonic() + PAUSE_S
        metrics.PEOPLE_CACHE.labels("failed").inc()
        log.warning("memcached_failed", error=type(error).__name__)


def parse_cache(setting: str) -> tuple[str, str, int]:
    """Kind, host and port of the setting `people_cache`. Raises SettingsError."""
    kind, _, place = setting.partition("://")
    host, _, port = place.rpartition(":")
    if kind == "memcached" and host and port.isdecimal():
        return kind, host.strip("[]"), int(port)
    if place or kind not in ("memory", "redis", "off"):
        raise SettingsError(
            f"{setting_name('people_cache')}: {setting!r} is not known; write one of {', '.join(KINDS)}"
        )
    return kind, "", 0


def build_cache(setting: str, client: redis.Redis, pii_key: bytes) -> Cache:
    """The cache that the setting `people_cache` names. Raises SettingsError."""
    kind, host, port = parse_cache(setting)
    if kind == "memcached":
        return MemcachedCache(host, port, Seal(pii_key))
    if kind == "redis":
        return RedisCache(client, Seal(pii_key))
    return MemoryCache() if kind == "memory" else NoCache()
