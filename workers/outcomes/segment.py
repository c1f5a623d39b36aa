"""A CDP's source, by the HTTP tracking API that Segment's SDKs call: a batch of `track` calls under a write key.

Segment: docs, connections/sources/catalog/libraries/server/http-api. RudderStack's data plane and Hightouch Events take
the same. `destination.py` holds what destinations share.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from freshgate.errors import SettingsError
from freshgate.settings import OutcomeSettings
from freshgate.settings_parsing import setting_name
from freshgate.version import VERSION
from workers.esp.http_account import SANDBOX_KEY
from workers.outcomes.destination import Delivery, Destination, is_elsewhere, iso_now, iso_time, properties

EXAMPLE = "https://api.segment.io"
LIBRARY = {"name": "freshgate", "version": VERSION}


class SegmentDestination(Destination):
    """Raises SettingsError."""

    path = "/v1/batch"

    def __init__(self, shop: str, settings: OutcomeSettings) -> None:
        # With or without the path, as people copy it.
        settings = replace(settings, url=settings.url.rstrip("/").removesuffix("/batch").removesuffix("/v1"))
        if is_elsewhere(shop, settings, EXAMPLE) and not settings.write_key:
            raise SettingsError(
                f"{setting_name('outcomes', shop, 'write_key')}: write the write key of the CDP's source"
            )
        write_key = settings.write_key or SANDBOX_KEY
        basic = base64.b64encode(f"{write_key}:".encode()).decode()
        secrets = (write_key, basic)
        super().__init__(shop, settings, example=EXAMPLE, headers={"Authorization": f"Basic {basic}"}, secrets=secrets)

    def document(self, deliveries: Sequence[Delivery]) -> Mapping[str, Any]:
        return {"batch": [_track(delivery) for delivery in deliveries], "sentAt": iso_now()}


def _track(delivery: Delivery) -> dict[str, Any]:
    outcome, context = delivery.outcome, {"library": LIBRARY}
    if outcome.address:
        context["traits"] = {"email": outcome.address}
    # A CDP wants a user or a device; ours is a name that no device has.
    person = {"userId": delivery.user_id} if delivery.user_id else {"anonymousId": delivery.pseudonym}
    return {
        "type": "track",
        "event": outcome.event,
        **person,
        "messageId": delivery.message_id,
        "timestamp": iso_time(outcome.at),
        "properties": properties(outcome),
        "context": context,
    }
