"""A CDP whose secret stands in another header than Authorization: who is let in, and what the operator learns."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.sources.base import SourceKind, in_header
from adapter.sources.reading.static_header import HeaderVerifier
from adapter.sources.reading.webhook_source import ElementLayout, WebhookSource
from freshgate.declare import EventType, From
from freshgate.errors import NotAuthentic, SettingsError
from freshgate.settings import SourceSettings
from tests.adapter.sources.contract import SourceContract

HEADER = "X-Api-Key"
VIEWED = EventType(name="Product Viewed", sources={"examplecdp": From(when={"event": "viewed"})}, marks=("view",))
LAYOUT = ElementLayout(event_name="event", user_id="user_id", message_id="message_id")


def configure(name: str, settings: SourceSettings, _catalog: Any) -> WebhookSource:
    verify = HeaderVerifier(name, settings, "write the key that ExampleCDP shows", HEADER).verify
    return WebhookSource(name, settings, [VIEWED], "examplecdp", LAYOUT, verify)


EXAMPLE: SourceKind[WebhookSource] = SourceKind(name="examplecdp", configure=configure, prove=in_header(HEADER))


class TestExampleCdp(SourceContract):
    kind = EXAMPLE
    settings = SourceSettings(kind="examplecdp", secrets=("new", "old"))
    good = {"event": "viewed", "user_id": "u-1", "message_id": "m-1"}

    def headers(self, body: bytes) -> dict[str, str]:
        return EXAMPLE.prove("old", body)

    @pytest.mark.parametrize("headers", [{}, {HEADER: ""}, {HEADER: "News"}, {"Authorization": "new"}])
    def test_a_wrong_or_missing_header_is_kept_out(self, headers: dict[str, str]) -> None:
        with pytest.raises(NotAuthentic) as caught:
            self.source().verify(b"{}", headers)
        assert f"{HEADER} is not one of sources." in caught.value.hint

    def test_without_a_secret_the_advice_says_where_it_is(self) -> None:
        with pytest.raises(SettingsError, match="write the key that ExampleCDP shows"):
            configure("shop", SourceSettings(kind="examplecdp"), ())
