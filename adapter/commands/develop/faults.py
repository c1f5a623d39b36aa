"""A fault of a catalog, which the checks yield and `check.py` prints."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """What is wrong, and where: `place` is file:line."""

    place: str
    text: str
