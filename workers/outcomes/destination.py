"""What all destinations of outcomes share: the guarded connection of ESP accounts, and what an answer means here.

`segment.py` and `webhook.py` hold what differs; `sender.py` calls them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from freshgate.errors import EspError
from freshgate.outbound import parse_url
from freshgate.outcomes import Outcome
from freshgate.settings import EspSettings, OutcomeSettings
from workers.esp.base_url import checked_base_url, is_local
from workers.esp.connection import HttpResponse
from workers.esp.http_account import HttpAccount

# An answer about what was sent. Any other 4xx is about the URL or the key: it passes once they are right.
ABOUT_THE_BODY = {400, 413, 422}


class Delivery(NamedTuple):
    """One outcome as it leaves.

    message_id  the same however often it leaves
    user_id     the person's id in the shop by now; "" if there is none, or none that may leave
    """

    outcome: Outcome
    message_id: str
    user_id: str

    @property
    def pseudonym(self) -> str:
        """Names the person where no user id does: a hash that means nothing elsewhere."""
        return f"freshgate-{self.outcome.person or self.outcome.send_id}"


class Destination(HttpAccount):
    """Where one shop hears of its mails. Not thread-safe. Raises SettingsError."""

    def __init__(
        self,
        shop: str,
        settings: OutcomeSettings,
        *,
        example: str,
        headers: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        url = _checked_url(shop, settings, example)
        super().__init__(account_name(shop), account_settings(settings), url=url, headers=headers, secrets=secrets)

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Hands all over in one call. Raises EspError; `permanent` if it is about one of them."""
        body = self.encode(lambda: self.document(deliveries))
        self.post(self.path, body, self.proof(deliveries, body))

    def document(self, deliveries: Sequence[Delivery]) -> Mapping[str, Any]:
        """The JSON body."""
        raise NotImplementedError

    def proof(self, deliveries: Sequence[Delivery], body: bytes) -> Mapping[str, str]:
        """Headers of this call alone."""
        return {}

    def error(self, response: HttpResponse) -> EspError:
        error = super().error(response)
        if error.permanent and error.status not in ABOUT_THE_BODY:
            return EspError(str(error), blocked=True, status=error.status)
        return error

    def reason(self, document: Any) -> str:
        return str(document.get("message") or document.get("error") or "")


def account_name(shop: str) -> str:
    """How breaker, limits and errors name it; no ESP account has a dot in its name."""
    return f"outcomes.{shop}"


def account_settings(settings: OutcomeSettings) -> EspSettings:
    """Its settings as an account has them, for connection, breaker and limits."""
    return EspSettings(
        kind=settings.kind, rate=settings.rate, timeout_s=settings.timeout_s, allow_networks=settings.allow_networks
    )


def is_elsewhere(shop: str, settings: OutcomeSettings, example: str) -> bool:
    """Whether the URL may lead to another machine than this one or its sandbox's. Raises SettingsError."""
    return not is_local(parse_url(_checked_url(shop, settings, example)))


def _checked_url(shop: str, settings: OutcomeSettings, example: str) -> str:
    # No `live` here: what leaves is no mail.
    return checked_base_url(shop, settings.url, live=True, field="url", example=example, query=True, table="outcomes")


def properties(outcome: Outcome) -> dict[str, Any]:
    """What an outcome says, without empty fields. Nothing but `email` is an address."""
    fields = {
        "freshgate_send": outcome.send_id,
        "freshgate_trigger": outcome.trigger,
        "outcome": outcome.outcome,
        "reason": outcome.reason,
        "esp": outcome.esp,
        "email": outcome.address,
    }
    return {name: value for name, value in fields.items() if value}


def iso_time(at: int) -> str:
    """`2026-11-30T12:00:00.000Z`, of milliseconds UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_now() -> str:
    return iso_time(time.time_ns() // 1_000_000)
