"""How names of events and keys are compared, whoever chose them.

`paths.py` and the kinds' readers look names up by it, `product_lines.py` the members of products.
"""

from __future__ import annotations

from functools import lru_cache


@lru_cache(4096)
def fold(name: str) -> str:
    """A name as Segment's destinations compare it: FIRST_NAME, firstName and "First Name" are one (obj-case)."""
    return "".join(filter(str.isalnum, name)).lower()
