"""Segment, and the CDPs whose webhooks post Segment's elements: Customer.io, RudderStack, Hightouch.

`source.py` reads them all; `signature.py` and `static_header.py` verify them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from adapter.sources.base import AUTHORIZATION, ExampleEvent, SecurityScheme, SourceKind, authorization
from adapter.sources.reading.static_header import HeaderVerifier
from adapter.sources.segment.plans import DEFAULT_EMAILS
from adapter.sources.segment.signature import Verifier, prove
from adapter.sources.segment.source import SegmentSource
from freshgate.declare import EventType
from freshgate.errors import SettingsError
from freshgate.settings import SourceSettings
from freshgate.settings_parsing import setting_name

Configure = Callable[[str, SourceSettings, Sequence[EventType]], SegmentSource]


def _signed(advice: str) -> Configure:
    """Configures a source that X-Signature proves; `advice` says what to write where there is no secret."""

    def configure(name: str, settings: SourceSettings, catalog: Sequence[EventType]) -> SegmentSource:
        if not settings.secrets and not settings.tokens:
            key = setting_name("sources", name, "secrets")
            raise SettingsError(f"{key}: without a secret no request can be verified; {advice}")
        return SegmentSource(name, settings, catalog, Verifier(name, settings).verify)

    return configure


def _with_header(advice: str, dialects: tuple[str, ...] = ("segment",)) -> Configure:
    """Configures a source that a static Authorization header proves; `dialects`: whose spellings it reads."""

    def configure(name: str, settings: SourceSettings, catalog: Sequence[EventType]) -> SegmentSource:
        return SegmentSource(name, settings, catalog, HeaderVerifier(name, settings, advice).verify, dialects)

    return configure


def spell(name: str) -> Mapping[str, str]:
    """ "track / Quiz Answered", or the type of another call."""
    head, _, event = name.partition(" / ")
    return {"type": "track", "event": event} if event else {"type": head}


SEGMENT = SourceKind(
    name="segment",
    configure=_signed("write the shared secret of Segment's webhook"),
    # docs, connections/spec/common.md
    roots=(
        *("anonymousId", "userId", "previousId", "groupId", "messageId", "type", "event", "action", "name", "category"),
        *("anonymous_id", "user_id", "previous_id", "group_id", "properties", "traits", "context", "integrations"),
        *("timestamp", "originalTimestamp", "sentAt", "receivedAt", "version", "channel", "projectId", "options"),
    ),
    # docs, connections/spec; `delete` is Freshgate's name of a request for erasure.
    texts={"type": ("track", "identify", "page", "screen", "group", "alias", "delete")},
    beside={"event": ("type", ("track",))},
    spell=spell,
    own_emails=DEFAULT_EMAILS,
    example_event=ExampleEvent(
        when={"type": "track", "event": "{name}"},
        field="properties.plan",
        payload=Path(__file__).with_name("example_event.json.j2"),
    ),
    prove=prove,
    # Of a batch X-Signature covers the first element only; a token vouches for the rest.
    first_secrets={"secret": "", "token": ""},
    security=SecurityScheme(
        name="segment", scheme={"type": "apiKey", "in": "header", "name": "X-Signature"}, with_token=True
    ),
)
# Customer.io signs as Segment does (docs.customer.io, cdp/destinations/connections/webhook).
CUSTOMERIO = replace(
    SEGMENT,
    name="customerio",
    reads=SEGMENT.name,
    configure=_signed("write the shared secret of the webhook in Customer.io's data pipelines"),
)
RUDDERSTACK = replace(
    SEGMENT,
    name="rudderstack",
    reads=SEGMENT.name,
    # Its Shopify source has names of its own (rudder-transformer, src/sources/shopify/tracker/config.js).
    reads_own_too=True,
    configure=_with_header(
        "write the Authorization header that is set in RudderStack's webhook", ("segment", "rudderstack")
    ),
    prove=authorization,
    first_secrets={"secret": "Bearer "},
    security=AUTHORIZATION,
)
HIGHTOUCH = replace(
    RUDDERSTACK,
    name="hightouch",
    reads_own_too=False,
    configure=_with_header("write the Authorization header that is set in Hightouch's HTTP request"),
)
