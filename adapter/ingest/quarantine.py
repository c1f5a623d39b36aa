"""The quarantine: elements on which our own code failed, kept raw until the code is fixed.

`receive.py` adds them, a thousand or one request's, and for 30 days; `python -m adapter quarantine` shows and replays
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
import redis

from adapter.sources.base import NO_CONTEXT, RequestContext
from freshgate.errors import StoreUnavailable
from freshgate.state import keys

KEY = keys.QUARANTINE
MAX_ENTRIES = 1000
TTL_S = 30 * 86_400


class QuarantinedElement(msgspec.Struct, frozen=True):
    """One element as it came: its source, its bytes, when it was received (ms), and its request's context."""

    source: str
    raw: bytes
    received_at: int
    # Redis has it under the name "about".
    context: RequestContext = msgspec.field(default=NO_CONTEXT, name="about")


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(QuarantinedElement).decode


def add_elements(client: redis.Redis, elements: Sequence[QuarantinedElement]) -> None:
    """Adds the elements of one request. Raises RedisError, and StoreUnavailable where there is no room for them: the
    caller is then answered 503, and the CDP sends the request again. In an empty quarantine any request has room."""
    count = int(client.llen(KEY))
    if count and count + len(elements) > MAX_ENTRIES:
        raise StoreUnavailable("the quarantine is full: replay or drop what it has, `freshgate quarantine list`")
    pipe = client.pipeline(transaction=True)
    pipe.lpush(KEY, *map(_encode, elements))
    pipe.expire(KEY, TTL_S)
    pipe.execute()


def list_elements(client: redis.Redis) -> Iterator[tuple[bytes, QuarantinedElement]]:
    """Each entry as Redis has it, and its element; oldest first."""
    entries: Any = client.lrange(KEY, 0, -1)
    for entry in reversed(entries):
        yield entry, _decode(entry)


def short_id(entry: bytes) -> str:
    """Short, stable id of an entry, for the command line."""
    return blake2b(entry, digest_size=4).hexdigest()


def remove_element(client: redis.Redis, entry: bytes) -> None:
    """Removes one entry."""
    client.lrem(KEY, 1, entry)  # type: ignore[arg-type]  # redis' types allow texts only
