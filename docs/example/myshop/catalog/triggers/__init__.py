"""Freshgate's triggers with one of them changed, and the shop's own: a new one is one file here and one line below."""

from __future__ import annotations

from msgspec.structs import replace

import catalog
from freshgate import HOUR

from .renewal_thanks import RENEWAL_THANKS

# A shop of sofas: nobody decides within half an hour. Times alone could stand in the settings, too.
OURS = tuple(
    replace(trigger, delay=3 * HOUR) if trigger.name == "abandoned_cart" else trigger for trigger in catalog.TRIGGERS
)

TRIGGERS = (
    *OURS,
    RENEWAL_THANKS,
)
