"""Customer.io's reporting webhooks: signed with a time, and read for what suppresses an address.

The payloads stand in tests/payloads/customerio_reporting.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from adapter.sources.customerio_reporting import CUSTOMERIO_REPORTING, SignedWithTime
from catalog.events import EVENTS
from freshgate.errors import NotAuthentic, RequestError, SettingsError
from freshgate.events import Event, Ignored, Refused
from freshgate.settings import SourceSettings
from tests.adapter.sources.contract import RECEIVED_AT

SETTINGS = SourceSettings(kind="customerio_reporting", secrets=("older", "abc123"))
BODY = b'{"event_id": "e-1", "object_type": "email", "metric": "bounced", "data": {"recipient": "a@example.com"}}'
NOW = 1_790_000_040


def signed(body: bytes, at: int | str = NOW, key: str = "abc123") -> dict[str, str]:
    digest = hmac.new(key.encode(), f"v0:{at}:".encode() + body, hashlib.sha256)
    return {"X-CIO-Timestamp": str(at), "X-CIO-Signature": digest.hexdigest()}


def verify(body: bytes, headers: dict[str, str], settings: SourceSettings = SETTINGS) -> None:
    SignedWithTime("reports", settings, lambda: float(NOW)).verify(body, headers)


def read(body: Any) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    (verdict,) = CUSTOMERIO_REPORTING.configure("reports", SETTINGS, EVENTS).read(raw, RECEIVED_AT)
    return verdict


@pytest.mark.parametrize(("at", "key"), [(NOW, "abc123"), (NOW - 300, "abc123"), (NOW + 300, "older")])
def test_what_one_of_the_keys_signed_lately_is_let_in(at: int, key: str) -> None:
    verify(BODY, signed(BODY, at, key))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(BODY, key="other"),
        signed(BODY + b" "),
        {**signed(BODY), "X-CIO-Timestamp": str(NOW + 1)},
        {**signed(BODY), "X-CIO-Signature": "\u20ac"},
        # Rightly signed, at another time or at none.
        signed(BODY, NOW - 301),
        signed(BODY, NOW + 301),
        signed(BODY, "now"),
        signed(BODY, "9" * 5000),
    ],
)
def test_anything_else_is_kept_out(headers: dict[str, str]) -> None:
    with pytest.raises(NotAuthentic):
        verify(BODY, headers)


def test_a_token_is_a_second_factor() -> None:
    guarded = SourceSettings(kind="customerio_reporting", secrets=("abc123",), tokens=("t",))
    verify(BODY, {**signed(BODY), "X-Freshgate-Token": "t"}, guarded)
    with pytest.raises(NotAuthentic):
        verify(BODY, signed(BODY), guarded)


def test_its_clock_is_ours() -> None:
    source = CUSTOMERIO_REPORTING.configure("reports", SETTINGS, EVENTS)
    source.verify(BODY, signed(BODY, int(time.time())))
    with pytest.raises(SettingsError, match=r"sources\.reports\.secrets"):
        CUSTOMERIO_REPORTING.configure("reports", SourceSettings(kind="customerio_reporting"), EVENTS)


def test_a_recipient_without_an_id_is_suppressed_by_address() -> None:
    verdict = read(BODY)
    assert isinstance(verdict, Event)
    assert (verdict.name, verdict.user_id, verdict.email) == ("Email Bounced", None, "a@example.com")
    assert verdict.message_id == "e-1"


@pytest.mark.parametrize(("kind", "metric"), [("email", "delivered"), ("sms", "bounced"), ("customer", "created")])
def test_what_suppresses_nothing_is_ignored(kind: str, metric: str) -> None:
    assert read({"object_type": kind, "metric": metric}) == Ignored(f"{kind} / {metric}")


def test_a_bounce_of_nobody_is_refused() -> None:
    assert read({"object_type": "email", "metric": "bounced", "data": None}) == Refused("no_identity")


def test_a_missing_event_id_is_the_same_in_a_redelivery() -> None:
    first = read({"object_type": "email", "metric": "bounced", "data": {"recipient": "a@example.com"}})
    redelivery = read({"data": {"recipient": "a@example.com"}, "metric": "bounced", "object_type": "email"})
    assert first.message_id == redelivery.message_id
    assert first.message_id.startswith("h-")


@pytest.mark.parametrize("body", [b"", b"[]", b"[{}]", b"7", b"{", b"{}{}", b'{"a": 01}', b"\xff{}"])
def test_what_is_no_object_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(RequestError):
        read(body)


def test_an_element_that_is_too_deep_is_refused() -> None:
    assert read(b'{"data": ' + b"[" * 100 + b"]" * 100 + b"}") == Refused("too_deep")
