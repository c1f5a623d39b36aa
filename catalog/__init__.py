"""The two visible tables of the shop: what can happen, and which mails follow from it.

Users edit this folder, or a copy of it that `catalog` in the settings names; the engine imports both tables.
"""

from __future__ import annotations

from .events import EVENTS
from .triggers import TRIGGERS

__all__ = ["EVENTS", "TRIGGERS"]
