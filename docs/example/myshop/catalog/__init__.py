"""The shop's catalog: everything in Freshgate's catalog, and the shop's own events and triggers.

`catalog = "myshop.catalog"` in freshgate.toml names this package. The engine reads the two tables, nothing else.
"""

from __future__ import annotations

from .events import EVENTS
from .triggers import TRIGGERS

__all__ = ["EVENTS", "TRIGGERS"]
