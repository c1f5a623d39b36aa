"""Stamps: the total order in which registers are news, whatever order the events arrived in.

Compared as text, in Python and in Lua alike; `library.lua` knows their length.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

LENGTH = 22

# At one millisecond: a snapshot empties the cart, its lines and adds count, then removes, then an order empties it.
SNAPSHOT, ADD, REMOVE, ORDER = "0", "1", "2", "3"


@lru_cache(maxsize=4096)
def tail(message_id: str) -> str:
    """Eight hex digits of the message id: they decide between two messages of the same millisecond and rank."""
    return blake2b(message_id.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def stamp(occurred_at: int, message_id: str, rank: str = ADD) -> str:
    """13 digits of milliseconds, one of rank, eight of the message."""
    return f"{occurred_at:013d}{rank}{tail(message_id)}"


def millis(text: str) -> int:
    """The occurred_at of a stamp."""
    return int(text[:13])
