"""Which person an id belongs to by now: tombstones are followed here; `merge.lua` makes them.

The operator's commands and `lookup.py` read behind them.
"""

from __future__ import annotations

import redis

from freshgate.state import keys

# `merge.lua` points each tombstone at the person that lives, whenever somebody writes through it.
MAX_HOPS = 64


def resolve(client: redis.Redis, person: str) -> str:
    """The id of the person that lives."""
    for _ in range(MAX_HOPS):
        to = client.hget(keys.person(person), "to")
        if to is None:
            return person
        person = bytes(to).decode()  # type: ignore[arg-type]
    return person
