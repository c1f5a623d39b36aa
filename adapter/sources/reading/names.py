"""How names of events and keys are compared, whoever chose them.

`paths.py` and the kinds' readers look names up by it, `product_lines.py` the members of products.
"""

from __future__ import annotations

from functools import lru_cache

# Names come again and again, so what they fold to is kept: of names that somebody gave, not of megabytes that a caller
# calls one.
MAX_CACHED_LENGTH = 200


def fold(name: str) -> str:
    """A name as Segment's destinations compare it: FIRST_NAME, firstName and "First Name" are one (obj-case)."""
    return _fold(name) if len(name) <= MAX_CACHED_LENGTH else _fold.__wrapped__(name)


@lru_cache(4096)
def _fold(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()
