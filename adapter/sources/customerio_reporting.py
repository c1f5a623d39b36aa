"""Customer.io's reporting webhooks, on what became of its mails: bounces, spam reports and unsubscribes bind ours, too.

`reading/webhook_source.py` reads the bodies; the catalog says which metrics are an event type.
Facts: https://docs.customer.io/api/webhooks (headers, signature, members).
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapter.sources.base import NO_CONTEXT, ExampleEvent, Headers, RequestContext, SecurityScheme, SourceKind
from adapter.sources.reading.identity import MAX_MESSAGE_ID_LENGTH, canonical, message_id_of
from adapter.sources.reading.static_header import Tokens, refuse_encoded
from adapter.sources.reading.webhook_source import ElementLayout, WebhookSource
from freshgate.declare import EventType
from freshgate.errors import NotAuthentic, RequestError, SettingsError
from freshgate.events import Refused, Verdict
from freshgate.settings import SourceSettings
from freshgate.settings_parsing import setting_name

# Customer.io signs each retry at its own time, so an old signature is somebody's copy of a request.
TOLERANCE_S = 300
# Whom the mail was for, best first; `recipient` is what the metric is about.
ADDRESSES = ("data.recipient", "data.email_address", "data.identifiers.email")
LAYOUT = ElementLayout(
    event_name="metric",
    user_id=("data.identifiers.id", "data.customer_id"),
    occurred_at="timestamp",
    emails=ADDRESSES,
)


class SignedWithTime:
    """X-CIO-Signature: hex HMAC-SHA256 over `v0:<X-CIO-Timestamp>:<body>`. Several keys may be valid at once."""

    def __init__(self, name: str, settings: SourceSettings, clock_s: Callable[[], float] = time.time) -> None:
        self._name = name
        self._keyed_hashes = [hmac.new(secret.encode(), digestmod="sha256") for secret in settings.secrets]
        self._tokens = Tokens(name, settings)
        self._key = setting_name("sources", name, "secrets")
        self._clock_s = clock_s
        if not self._keyed_hashes:
            raise SettingsError(
                f"{self._key}: without a secret no request can be verified; write the reporting webhook's signing key"
            )

    def verify(self, body: bytes, headers: Headers) -> None:
        """Raise NotAuthentic unless one of the keys signed this body, within five minutes of our clock; UnsupportedBody
        for an encoded one."""
        refuse_encoded(self._name, headers)
        timestamp = headers.get("X-CIO-Timestamp") or ""
        signature = headers.get("X-CIO-Signature") or ""
        matches = False
        if timestamp.isascii() and signature.isascii():
            for keyed_hash in self._keyed_hashes:
                digest = keyed_hash.copy()
                digest.update(b"v0:" + timestamp.encode() + b":" + body)
                matches |= hmac.compare_digest(digest.hexdigest(), signature)
        if not matches:
            raise NotAuthentic("signature rejected", f"{self._name}: bad signature, check {self._key}")
        if not timestamp.isdigit() or len(timestamp) > 12 or abs(self._clock_s() - int(timestamp)) > TOLERANCE_S:
            raise NotAuthentic("signature rejected", f"{self._name}: signed at another time; are both clocks right?")
        if self._tokens and not self._tokens.vouched(headers):
            raise self._tokens.missing()


class ReportingSource(WebhookSource):
    """One reporting webhook. A body is one event."""

    address_is_enough = True

    def __init__(self, name: str, settings: SourceSettings, catalog: Sequence[EventType]) -> None:
        verify = SignedWithTime(name, settings).verify
        super().__init__(name, settings, catalog, "customerio_reporting", LAYOUT, verify)

    def read(self, body: bytes, received_at: int, context: RequestContext = NO_CONTEXT) -> Sequence[Verdict]:
        """One verdict. Raises RequestError for a body that is not a JSON object."""
        verdicts = super().read(body, received_at, context)
        if body.lstrip(b" \t\r\n")[:1] != b"{":
            raise RequestError("not a JSON object")
        if verdicts == [Refused("not_json")]:
            raise RequestError("not JSON")
        return verdicts

    def event_name(self, element: Mapping[str, Any]) -> str:
        """Object and metric, such as "email / bounced"."""
        return f"{element.get('object_type')} / {element.get('metric')}"

    def message_id(self, element: Mapping[str, Any], raw: bytes) -> str:
        """The event's own id, else a hash that does not depend on the order of members."""
        message_id = element.get("event_id")
        if type(message_id) is str and 0 < len(message_id) <= MAX_MESSAGE_ID_LENGTH:
            return message_id
        return message_id_of(self.name, canonical(element))


def prove(secret: str, body: bytes) -> dict[str, str]:
    """The headers with which Customer.io sends a body now."""
    now = str(int(time.time()))
    digest = hmac.new(secret.encode(), f"v0:{now}:".encode() + body, "sha256").hexdigest()
    return {"X-CIO-Timestamp": now, "X-CIO-Signature": digest}


def spell(name: str) -> dict[str, str]:
    """ "email / bounced", as `ReportingSource.event_name` writes it."""
    object_type, _, metric = name.partition(" / ")
    return {"object_type": object_type, "metric": metric}


CUSTOMERIO_REPORTING = SourceKind(
    name="customerio_reporting",
    configure=ReportingSource,
    spell=spell,
    # A body is one event.
    max_bytes=1024 * 1024,
    own_emails=ADDRESSES,
    example_event=ExampleEvent(
        when={"object_type": "email", "metric": "{slug}"},
        field="data.plan",
        payload=Path(__file__).with_name("customerio_reporting_event.json.j2"),
    ),
    prove=prove,
    first_secrets={"secret": "", "token": ""},
    security=SecurityScheme(
        name="customerio_reporting",
        scheme={"type": "apiKey", "in": "header", "name": "X-CIO-Signature"},
        on_audience_urls=False,
    ),
)
