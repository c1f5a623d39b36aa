"""Any webhook: outcomes as JSON, signed as Standard Webhooks says.

`destination.py` holds what destinations share, `workers/esp/webhook.py` the signature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

from freshgate.outcomes import MESSAGE_ID
from freshgate.settings import OutcomeSettings
from freshgate.settings_parsing import setting_name
from workers.esp.webhook import signed_headers, signing_keys
from workers.outcomes.destination import Delivery, Destination, is_elsewhere, iso_now, iso_time, properties

EXAMPLE = "https://data.your-shop.example/freshgate"


class WebhookDestination(Destination):
    """Raises SettingsError."""

    def __init__(self, shop: str, settings: OutcomeSettings) -> None:
        setting = setting_name("outcomes", shop, "signing_secret")
        is_required = is_elsewhere(shop, settings, EXAMPLE)
        self._keys = signing_keys(setting, settings.signing_secret, live=is_required)
        url = urlsplit(settings.url)
        # A hook's URL may be its key, and servers quote what they were asked for.
        places = [place for place in (url.path, url.query) if len(place) > 1]
        super().__init__(shop, settings, example=EXAMPLE, secrets=[*settings.signing_secret.split(), *places])

    def document(self, deliveries: Sequence[Delivery]) -> Mapping[str, Any]:
        data = [_entry(delivery) for delivery in deliveries]
        return {"type": "freshgate.outcomes", "timestamp": iso_now(), "data": data}

    def proof(self, deliveries: Sequence[Delivery], body: bytes) -> Mapping[str, str]:
        # The same outcomes once more are the same message.
        ids = "\0".join(delivery.message_id for delivery in deliveries)
        return signed_headers(
            self._keys, MESSAGE_ID + blake2b(ids.encode(), digest_size=12).hexdigest(), self.now_s(), body
        )


def _entry(delivery: Delivery) -> dict[str, Any]:
    outcome = delivery.outcome
    person = {"user_id": delivery.user_id} if delivery.user_id else {"anonymous_id": delivery.pseudonym}
    return {
        "id": delivery.message_id,
        "event": outcome.event,
        "timestamp": iso_time(outcome.at),
        **person,
        **properties(outcome),
    }
