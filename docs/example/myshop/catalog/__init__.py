"""The shop's catalog: all that Freshgate's own has, and the shop's.

`catalog = "myshop.catalog"` in freshgate.toml names it. The two tables are all that is read.
"""

from __future__ import annotations

from .events import EVENTS
from .triggers import TRIGGERS

__all__ = ["EVENTS", "TRIGGERS"]
