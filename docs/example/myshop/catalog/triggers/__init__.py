"""Freshgate's triggers, one of them changed, and the shop's own. A new one is a file here, and a line in TRIGGERS."""

from __future__ import annotations

from msgspec.structs import replace

import catalog

from .renewal_thanks import RENEWAL_THANKS

# Nobody decides on a sofa within half an hour. (A delay can be set in freshgate.toml as well.)
FRESHGATE_TRIGGERS = tuple(
    replace(trigger, delay="3h") if trigger.name == "abandoned_cart" else trigger for trigger in catalog.TRIGGERS
)

TRIGGERS = (
    *FRESHGATE_TRIGGERS,
    RENEWAL_THANKS,
)
