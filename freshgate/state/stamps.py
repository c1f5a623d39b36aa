"""Stamps: the total order in which registers are news, whatever order the events arrived in.

Compared as text, in Python and in Lua alike; `library.lua` knows their length. A person's record has a dozen of them,
so they are short: 15 characters, digits and small letters.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

LENGTH = 15
# Of the time: milliseconds to base 36, which Lua reads as well. Enough until 2059.
TIME_LENGTH = 8

# At one millisecond: a snapshot empties the cart, its lines and adds count, then removes, then an order empties it.
SNAPSHOT, ADD, REMOVE, ORDER = "0", "1", "2", "3"
# Of an opt-out or opt-in: its time is by a device's clock, or is no more than a guess. See `suppressions.is_over`.
BY_DEVICE, GUESSED = "d", "g"

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_SQUARE = 36**4
_LAST_MS = 36**TIME_LENGTH - 1


@lru_cache(maxsize=4096)
def tail(message_id: str) -> str:
    """Six characters of the message id: they decide between two messages of the same millisecond and rank."""
    # An error handler, for half of a surrogate pair, doubles the cost.
    text = message_id.encode() if message_id.isascii() else message_id.encode("utf-8", "surrogatepass")
    digest = blake2b(text, digest_size=8).digest()
    high, low = divmod(int.from_bytes(digest, "big"), _SQUARE)
    return _PAIRS[high % 1296] + _PAIRS[low // 1296] + _PAIRS[low % 1296]


def stamp(occurred_at: int, message_id: str, rank: str = ADD) -> str:
    """Eight characters of time, one of rank, six of the message."""
    return f"{stamp_time(occurred_at)}{rank}{tail(message_id)}"


def first_stamp(occurred_at: int, message_id: str) -> str:
    """A stamp that is the larger, the older the event is: its register keeps the first one."""
    return stamp(_LAST_MS - occurred_at, message_id)


@lru_cache(maxsize=4096)
def stamp_time(ms: int) -> str:
    """A time in ms as stamps begin with it."""
    return _base36(ms)


def millis(text: str) -> int:
    """The occurred_at of a stamp."""
    return int(text[:TIME_LENGTH], 36)


def _base36(number: int) -> str:
    """The last eight digits."""
    high, low = divmod(number, _SQUARE)
    high %= _SQUARE
    return _PAIRS[high // 1296] + _PAIRS[high % 1296] + _PAIRS[low // 1296] + _PAIRS[low % 1296]
