"""Elements on which our own code failed, kept raw until it is mended.

The receiver keeps them (`receive.py`), the newest thousand for 30 days; `python -m adapter quarantine` replays them.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import msgspec
import redis

from adapter.sources.base import NO_CONTEXT, RequestContext
from freshgate.state import keys

KEY = keys.QUARANTINE
MAX_ENTRIES = 1000
TTL_S = 30 * 86_400


class QuarantinedElement(msgspec.Struct, frozen=True):
    """One element as it came: which source's, its bytes, when (ms), and what its request said beside the body."""

    source: str
    raw: bytes
    received_at: int
    # "about" is its name in Redis.
    context: RequestContext = msgspec.field(default=NO_CONTEXT, name="about")


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(QuarantinedElement).decode


def add_element(client: redis.Redis, kept: QuarantinedElement) -> None:
    """Raises RedisError: then nothing of the request was recorded, and the CDP sends it again."""
    pipe = client.pipeline(transaction=True)
    pipe.lpush(KEY, _encode(kept))
    pipe.ltrim(KEY, 0, MAX_ENTRIES - 1)
    pipe.expire(KEY, TTL_S)
    pipe.execute()


def list_elements(client: redis.Redis) -> Iterator[tuple[bytes, QuarantinedElement]]:
    """Oldest first: the entry, and what it holds."""
    found: Any = client.lrange(KEY, 0, -1)
    for entry in reversed(found):
        yield entry, _decode(entry)


def short_id(entry: bytes) -> str:
    """By what an operator names an entry; the same for as long as it is kept."""
    return blake2b(entry, digest_size=4).hexdigest()


def remove_element(client: redis.Redis, entry: bytes) -> None:
    """Take one entry away."""
    client.lrem(KEY, 1, entry)  # type: ignore[arg-type]  # redis' types know texts only
