"""Freshgate's event types, and the shop's own: a new one is one file beside this one, and one line in this table."""

from __future__ import annotations

import catalog

from .subscription_renewed import SUBSCRIPTION_RENEWED

EVENTS = (
    *catalog.EVENTS,
    SUBSCRIPTION_RENEWED,
)
