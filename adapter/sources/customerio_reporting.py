"""Customer.io's reporting webhooks: what became of its mails. Bounces, spam reports and unsubscribes count for ours.

`dialect.py` finds the event type; the catalog says which metrics are one.
Facts: https://docs.customer.io/api/webhooks (headers, signature, members).
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adapter.sources.base import NO_CONTEXT, Headers, RequestContext, SecurityScheme, SourceKind, failed
from adapter.sources.reading.dialect import Dialect, own_address, read_fields, value_at
from adapter.sources.reading.identity import MAX_MESSAGE_ID_LENGTH, canonical, message_id_of, person_id
from adapter.sources.reading.salvage import MAX_DEPTH, decode_leniently, elements
from adapter.sources.reading.static_header import Tokens
from adapter.sources.reading.timestamps import occurrence, time_ms
from freshgate.declare import EventType
from freshgate.errors import NotAuthentic, RequestError, SettingsError
from freshgate.events import Event, Ignored, Refused, Verdict
from freshgate.settings import SourceSettings
from freshgate.settings_parsing import setting_name

# A retry is signed anew, so an old signature is somebody else's copy of it.
TOLERANCE_S = 300
# Whom the mail was for, best first; `recipient` is what the metric is about.
ADDRESSES = ("data.recipient", "data.email_address", "data.identifiers.email")
MAX_NAME_LENGTH = 100


class SignedWithTime:
    """X-CIO-Signature: hex HMAC-SHA256 over `v0:<X-CIO-Timestamp>:<body>`. Several keys may be valid at once."""

    def __init__(self, name: str, settings: SourceSettings, clock_s: Callable[[], float] = time.time) -> None:
        self._name = name
        self._keyed = [hmac.new(secret.encode(), digestmod="sha256") for secret in settings.secrets]
        self._tokens = Tokens(name, settings)
        self._key = setting_name("sources", name, "secrets")
        self._clock_s = clock_s
        if not self._keyed:
            raise SettingsError(
                f"{self._key}: without a secret nobody can be believed; write the signing key of the reporting webhook"
            )

    def verify(self, body: bytes, headers: Headers) -> None:
        """Raise NotAuthentic unless one of the keys signed this body, within five minutes of our clock."""
        told = headers.get("X-CIO-Timestamp") or ""
        signature = headers.get("X-CIO-Signature") or ""
        right = False
        if told.isascii() and signature.isascii():
            for keyed in self._keyed:
                digest = keyed.copy()
                digest.update(b"v0:" + told.encode() + b":" + body)
                right |= hmac.compare_digest(digest.hexdigest(), signature)
        if not right:
            raise NotAuthentic("signature rejected", f"{self._name}: bad signature, check {self._key}")
        if not told.isdigit() or len(told) > 12 or abs(self._clock_s() - int(told)) > TOLERANCE_S:
            raise NotAuthentic("signature rejected", f"{self._name}: signed at another time; are both clocks right?")
        if self._tokens and not self._tokens.vouched(headers):
            raise self._tokens.missing()


class ReportingSource:
    """One reporting webhook. A body is one event."""

    def __init__(self, name: str, settings: SourceSettings, catalog: Sequence[EventType]) -> None:
        self.name = name
        self.settings = settings
        self.verify: Callable[[bytes, Headers], None] = SignedWithTime(name, settings).verify
        self._dialect = Dialect("customerio_reporting", catalog, ADDRESSES)
        self._junk = frozenset(junk.strip().lower() for junk in settings.junk_ids)

    def read(self, body: bytes, received_at: int, context: RequestContext = NO_CONTEXT) -> Sequence[Verdict]:
        """One verdict. Raises RequestError for a body that is no JSON object."""
        try:
            (span,) = elements(body)
            if body.lstrip(b" \t\r\n")[:1] != b"{":
                raise RequestError("not a JSON object")
            element = decode_leniently(body) if span.depth <= MAX_DEPTH else None
        except ValueError:
            raise RequestError("not JSON") from None
        if element is None:
            return [Refused("too_deep")]
        try:
            return [self._event(element, received_at)]
        except Exception as error:
            return [failed(error, body)]

    def _event(self, element: Mapping[str, Any], received_at: int) -> Verdict:
        spelled = f"{element.get('object_type')} / {element.get('metric')}"
        found = self._dialect.find(element)
        if found is None:
            return Ignored(spelled[:MAX_NAME_LENGTH], lambda: element)
        fields, unreadable = read_fields(found, element)
        email, garbled = own_address(found, element)
        user_id = person_id(value_at(element, ("data", "identifiers", "id")), self._junk)
        user_id = user_id or person_id(value_at(element, ("data", "customer_id")), self._junk)
        if user_id is None and email is None:
            return Refused("no_identity")
        occurred_at, clamped = occurrence(time_ms(element.get("timestamp")), None, received_at)
        message_id = element.get("event_id")
        if type(message_id) is not str or not 0 < len(message_id) <= MAX_MESSAGE_ID_LENGTH:
            message_id = message_id_of(self.name, canonical(element))
        return Event(
            source=self.name,
            id_space=self.settings.id_space,
            name=found.name,
            message_id=message_id,
            occurred_at=occurred_at,
            received_at=received_at,
            user_id=user_id,
            email=email,
            fields=fields,
            unreadable=(*unreadable, "email") if garbled else tuple(unreadable),
            clamped=clamped,
        )


def prove(secret: str, body: bytes) -> dict[str, str]:
    """The headers with which Customer.io sends a body now."""
    now = str(int(time.time()))
    digest = hmac.new(secret.encode(), f"v0:{now}:".encode() + body, "sha256").hexdigest()
    return {"X-CIO-Timestamp": now, "X-CIO-Signature": digest}


CUSTOMERIO_REPORTING = SourceKind(
    name="customerio_reporting",
    configure=ReportingSource,
    own_emails=ADDRESSES,
    prove=prove,
    first_secrets={"secret": "", "token": ""},
    security=SecurityScheme(
        name="customerio_reporting",
        scheme={"type": "apiKey", "in": "header", "name": "X-CIO-Signature"},
        on_audience_urls=False,
    ),
)
