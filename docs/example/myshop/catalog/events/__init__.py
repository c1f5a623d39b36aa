"""Freshgate's event types, and the shop's own. A new one is a file beside this one, and a line in EVENTS."""

from __future__ import annotations

import catalog

from .subscription_renewed import SUBSCRIPTION_RENEWED

EVENTS = (
    *catalog.EVENTS,
    SUBSCRIPTION_RENEWED,
)
