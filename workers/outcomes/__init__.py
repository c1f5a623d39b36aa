"""Where outcomes can go, in one table: a CDP by the tracking API that Segment's SDKs call, or a webhook.

A new kind is a file beside this one, its line here, and its name in `freshgate.settings.OutcomeSettings.kind`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from freshgate.settings import OutcomeSettings
from workers.outcomes.destination import Destination
from workers.outcomes.segment import SegmentDestination
from workers.outcomes.webhook import WebhookDestination

# kind → (shop, its settings) → the destination, not connected. Raises SettingsError.
DESTINATIONS: Mapping[str, Callable[[str, OutcomeSettings], Destination]] = {
    "segment": SegmentDestination,
    "webhook": WebhookDestination,
}


def build_destination(shop: str, settings: OutcomeSettings) -> Destination:
    """The shop's destination, not connected. Raises SettingsError."""
    return DESTINATIONS[settings.kind](shop, settings)
