"""The Tracking API's bodies: what an SDK posts is read as Segment's webhook would have told it.

`tests/adapter/routes/test_tracking_api.py` has the routes. Facts: docs,
connections/sources/catalog/libraries/server/http-api.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from adapter.sources import SOURCES
from adapter.sources.base import RequestContext
from adapter.sources.tracking import MAX_BYTES, TRACKING, TrackingSource
from catalog.events import EVENTS
from freshgate.errors import NotAuthentic, RequestError, SettingsError, TooLarge
from freshgate.events import Event, Ignored, Refused, Verdict
from freshgate.settings import SourceSettings
from tests.adapter.sources.contract import RECEIVED_AT, SourceContract, from_page

KEY = "a-write-key"
VIEWED = {
    "type": "track",
    "event": "Product Viewed",
    "userId": "ada",
    "anonymousId": "x",
    "messageId": "m-1",
    "timestamp": "2026-09-21T13:33:50Z",
    "properties": {"product_id": "p-1", "name": "Mug"},
}
BATCH = RequestContext(call="batch")


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(key.encode()).decode()}


def source(**more: Any) -> TrackingSource:
    return TRACKING.configure(
        "web", SourceSettings(kind="tracking", write_keys=(KEY, "older", "sk_eu_key"), **more), EVENTS
    )


def read(body: Any, context: RequestContext = BATCH, received_at: int = RECEIVED_AT) -> Sequence[Verdict]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return source().read(raw, received_at, context)


def event(body: Any, context: RequestContext = BATCH, received_at: int = RECEIVED_AT) -> Event:
    (verdict,) = read(body, context, received_at)
    assert isinstance(verdict, Event), verdict
    return verdict


class TestTracking(SourceContract):
    kind = TRACKING
    settings = SourceSettings(kind="tracking", write_keys=(KEY,))
    good = VIEWED

    def headers(self, body: bytes) -> dict[str, str]:
        return basic(f"{KEY}:")

    def body(self, elements: Sequence[Any]) -> bytes:
        return json.dumps({"batch": elements}).encode()

    def test_without_any_secret_it_does_not_start_and_names_the_key(self) -> None:
        with pytest.raises(SettingsError, match=r"sources\.shop\.write_keys"):
            self.kind.configure("shop", SourceSettings(kind="tracking", secrets=("s",)), EVENTS)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (basic(f"{KEY}:"), {}),
        # The colon may be missing.
        (basic(KEY), {}),
        (basic("older:"), {}),
        ({}, {"writeKey": KEY}),
        # Customer.io's SDKs send a key that says its region so.
        ({"Authorization": "Bearer sk_eu_key"}, {}),
        # OAuth has the key in the body.
        ({"Authorization": "Bearer abc"}, {"writeKey": KEY}),
    ],
)
def test_the_key_is_basics_user_or_in_the_body(headers: Mapping[str, str], body: Any) -> None:
    source().verify(json.dumps(body).encode(), headers)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b"{}"),
        ({}, b'{"writeKey": "other"}'),
        ({}, b'{"writeKey": 7}'),
        ({}, b'{"writeKey": ["a-write-key"]}'),
        ({}, b"[" * 200_000),
        ({}, b"\xff"),
        (basic("other:"), b'{"writeKey": "a-write-key"}'),
        (basic(":a-write-key"), b"{}"),
        ({"Authorization": "Basic %%%"}, b'{"writeKey": "a-write-key"}'),
        ({"Authorization": "Basic"}, b"{}"),
        ({"Authorization": "Basic \u20ac"}, b"{}"),
    ],
)
def test_whoever_has_no_key_is_kept_out(headers: Mapping[str, str], body: bytes) -> None:
    with pytest.raises(NotAuthentic):
        source().verify(body, headers)


def test_a_token_is_a_second_factor() -> None:
    guarded = source(tokens=("t",))
    guarded.verify(b"{}", {**basic(KEY), "X-Freshgate-Token": "t"})
    with pytest.raises(NotAuthentic):
        guarded.verify(b"{}", basic(KEY))


def test_the_key_of_a_body_that_only_the_slow_path_can_read_is_found() -> None:
    source().verify(b'{"batch": [{"a": "\\ud83d"}, NaN], "writeKey": "a-write-key"}', {})


def test_a_call_is_what_the_url_says() -> None:
    single = {**VIEWED, "type": "identify"}
    assert event(single, RequestContext(call="track")).name == "Product Viewed"
    assert (
        event({"userId": "ada", "traits": {"email": "a@example.com"}}, RequestContext(call="identify")).name
        == "Identify"
    )
    # Posted at a webhook's URL, which names no call, it says so itself.
    assert event(VIEWED, RequestContext()).name == "Product Viewed"
    assert event({"batch": [VIEWED]}, RequestContext()).name == "Product Viewed"


def test_a_batchs_context_is_every_items_and_the_items_own_wins() -> None:
    shared = {"traits": {"email": "ada@example.com"}, "locale": "de"}
    own = {**VIEWED, "messageId": "m-2", "context": {"traits": {"email": "own@example.com"}}}
    first, second = read({"batch": [VIEWED, own], "context": shared})
    assert isinstance(first, Event) and isinstance(second, Event)
    assert (first.email, second.email) == ("ada@example.com", "own@example.com")


HOUR = 3_600_000
SENT = "2026-09-21T13:00:00Z"  # received 834 s later if at RECEIVED_AT
SENT_MS = 1_789_995_600_000


@pytest.mark.parametrize(
    ("received", "corrected"),
    [
        # Right clocks: what the request took on its way moves nothing.
        (SENT_MS, 0),
        (SENT_MS + 10_000, 0),
        (SENT_MS - 1_000, 0),
        # A clock that is behind, and one that is ahead.
        (SENT_MS + HOUR, HOUR),
        (SENT_MS - HOUR, -HOUR),
        # Kept by somebody, and posted two days later: it did not just happen.
        (SENT_MS + 48 * HOUR, 0),
    ],
)
def test_a_wrong_clock_is_corrected_by_when_it_sent(received: int, corrected: int) -> None:
    item = {**VIEWED, "timestamp": "2026-09-21T12:59:50Z"}
    tracked = event({"batch": [item], "sentAt": SENT}, received_at=received)
    assert tracked.occurred_at == SENT_MS - 10_000 + corrected
    assert not tracked.clamped


def test_a_local_time_is_placed_by_when_it_was_sent() -> None:
    item = {**VIEWED, "timestamp": "2026-09-21T07:59:50"}
    assert event({"batch": [item], "sentAt": SENT}, received_at=SENT_MS).occurred_at == SENT_MS - 10_000
    assert event({"batch": [{**item, "sentAt": SENT}]}, received_at=SENT_MS).occurred_at == SENT_MS - 10_000


@pytest.mark.parametrize("shared", [{}, {"context": {"locale": "de"}}])
def test_a_local_time_is_named_as_doubtful_in_a_plain_batch_and_in_any_other(shared: dict[str, Any]) -> None:
    exact, local = "2026-09-21T14:13:17Z", "2026-09-21T16:13:17"
    items = [{**VIEWED, "timestamp": timestamp} for timestamp in (exact, local)]
    verdicts = read({"batch": items, "sentAt": "2026-09-21T14:13:18Z", **shared})
    assert [verdict.doubtful for verdict in verdicts if isinstance(verdict, Event)] == [(), ("occurred_at",)]


def test_a_time_that_cannot_be_read_is_named_and_not_taken_from_when_it_was_sent() -> None:
    tracked = event({"batch": [{**VIEWED, "timestamp": "gestern"}], "sentAt": SENT})
    assert (tracked.unreadable, tracked.undated, tracked.occurred_at) == (("occurred_at",), True, RECEIVED_AT)
    assert not event({"batch": [{**VIEWED, "timestamp": None}], "sentAt": SENT}, received_at=SENT_MS).undated


def test_a_receipt_that_the_caller_claims_is_not_believed() -> None:
    item = {**VIEWED, "timestamp": "2036-01-01T00:00:00Z", "receivedAt": "2020-01-01T00:00:00Z"}
    assert event({"batch": [item]}).occurred_at == RECEIVED_AT


def test_a_missing_message_id_is_the_same_in_a_redelivery_that_was_sent_later() -> None:
    item = {name: value for name, value in VIEWED.items() if name != "messageId"}
    first = event({"batch": [item], "sentAt": SENT})
    redelivery = event({"sentAt": "2026-09-21T13:01:00Z", "batch": [dict(reversed(item.items()))]})
    other = event({"batch": [{**item, "userId": "eve"}], "sentAt": SENT})
    assert first.message_id == redelivery.message_id != other.message_id
    singly = [event({**item, "sentAt": at}, RequestContext(call="track")) for at in (SENT, "2026-09-21T13:01:00Z")]
    assert singly[0].message_id == singly[1].message_id


def test_items_that_are_too_large_are_refused_alone() -> None:
    large = {**VIEWED, "properties": {"text": "x" * 32_768}}
    first, second = read({"batch": [large, VIEWED]})
    assert first == Refused("too_large")
    assert isinstance(second, Event)


def test_a_body_and_a_batch_have_segments_limits() -> None:
    assert len(read({"batch": [{}] * 2500})) == 2500
    with pytest.raises(TooLarge):
        read({"batch": [{}] * 2501})
    with pytest.raises(TooLarge):
        read(b" " * MAX_BYTES + b"{}")


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{", b'{"batch": [}', b'{"batch": {}}', b'{"batch": null}', b"{}"])
def test_what_is_no_batch_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(RequestError):
        read(body)


def test_half_an_emoji_bad_json_and_depth_cost_nothing_but_themselves() -> None:
    items = [json.dumps({**VIEWED, "messageId": f"m-{n}"}) for n in range(2)]
    half = '{"type": "track", "event": "\\ud83d", "userId": "ada"}'
    deep = '{"a": ' + "[" * 2000 + "]" * 2000 + "}"
    body = f'{{"batch": [{items[0]}, {half}, {{"a": 01}}, {deep}, {items[1]}], "context": {{"a": "\\ud83d"}}}}'
    first, ignored, broken, nested, last = read(body.encode())
    assert isinstance(first, Event) and isinstance(last, Event)
    assert ignored == Ignored("track / \ufffd")
    assert (broken, nested) == (Refused("not_json"), Refused("too_deep"))


def test_a_page_may_not_alias_or_delete() -> None:
    page = source(trust="browser")
    body = json.dumps({"batch": [{"type": "alias", "userId": "a", "previousId": "b"}]}).encode()
    assert from_page(page.read(body, RECEIVED_AT, BATCH)) == [Refused("not_trusted")]


@pytest.mark.parametrize("kind", ["rudderstack", "hightouch"])
def test_whoever_speaks_like_segment_without_signing_sends_a_header(kind: str) -> None:
    quiet = SOURCES[kind].configure("shop", SourceSettings(kind=kind, secrets=("Bearer s",)), EVENTS)
    body = json.dumps([VIEWED, {**VIEWED, "messageId": "m-2", "channel": "server", "rudderId": "r"}]).encode()
    quiet.verify(body, {"Authorization": "Bearer s"})
    with pytest.raises(NotAuthentic):
        quiet.verify(body, {"Authorization": "Bearer t"})
    first, second = quiet.read(body, RECEIVED_AT)
    assert isinstance(first, Event) and isinstance(second, Event)
    assert (first.name, first.source, second.message_id) == ("Product Viewed", "shop", "m-2")


def test_customerios_cdp_signs_as_segment_does() -> None:
    cdp = SOURCES["customerio"].configure("shop", SourceSettings(kind="customerio", secrets=("abc123",)), EVENTS)
    cdp.verify(b'{"cool":true}', {"X-Signature": "5099cab379b3be52908387457007040cc934ef86"})
    with pytest.raises(NotAuthentic):
        cdp.verify(b'{"cool":false}', {"X-Signature": "5099cab379b3be52908387457007040cc934ef86"})


@pytest.mark.parametrize("kind", ["rudderstack", "hightouch", "customerio"])
def test_none_of_them_starts_without_a_secret(kind: str) -> None:
    with pytest.raises(SettingsError, match=r"sources\.shop\.secrets"):
        SOURCES[kind].configure("shop", SourceSettings(kind=kind), EVENTS)
