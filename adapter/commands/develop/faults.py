"""One fault of a catalog: where it stands, and what is wrong with it.

The checks yield them; `check.py` prints them.
"""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """`place` is file:line."""

    place: str
    text: str
