"""Bodies as they arrive in every kind of source: with a byte order mark, packed, with a NaN, at odd URLs.

The app runs in Flask's test client on a real Valkey.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from redis import Redis

from adapter.app import create_app
from adapter.commands.post.proof import proof
from adapter.sources import SOURCES
from adapter.sources.reading.salvage import elements
from catalog.events import EVENTS
from freshgate.events import Event, Ignored, Refused
from freshgate.settings import Settings, SourceSettings

RECEIVED_AT = 1_790_000_040_000
SOURCES_OF_ALL_KINDS = {
    kind: SourceSettings(kind=kind, write_keys=("k",))
    if kind == "tracking"
    else SourceSettings(kind=kind, secrets=("s",))
    for kind in SOURCES
}
SIGNED = ("segment", "customerio", "customerio_reporting")
UNSIGNED = ("rudderstack", "hightouch", "mparticle", "tealium")
MARK = b"\xef\xbb\xbf"
ORDER = {"type": "track", "event": "Order Completed", "userId": "u-1", "properties": {"order_id": "o-1", "total": 10}}


@pytest.fixture
def client(redis: Redis) -> Iterator[FlaskClient]:
    before = set(REGISTRY._collector_to_names)
    yield create_app(Settings(pii_key="for tests", sources=SOURCES_OF_ALL_KINDS), redis).test_client()
    for collector in set(REGISTRY._collector_to_names) - before:
        REGISTRY.unregister(collector)


def order(kind: str, message_id: str = "m-1") -> dict[str, Any]:
    """A purchase, or what a kind without purchases knows, as that kind sends it."""
    if kind == "mparticle":
        action = {"action": "purchase", "transaction_id": "o-1", "total_amount": 10}
        data = {"source_message_id": message_id, "product_action": action}
        return {"mpid": "1", "events": [{"event_type": "commerce_event", "data": data}]}
    if kind == "tealium":
        return {
            "tealium_event": "purchase",
            "customer_id": "u-1",
            "order_id": "o-1",
            "order_total": 10,
            "n": message_id,
        }
    if kind == "customerio_reporting":
        return {"object_type": "email", "metric": "bounced", "event_id": message_id, "data": {"customer_id": "u-1"}}
    return {**ORDER, "messageId": message_id}


def post(client: FlaskClient, kind: str, body: bytes, signed: bytes | None = None, **headers: str) -> Any:
    url = "/v1/batch" if kind == "tracking" else f"/webhooks/{kind}"
    proven = proof(kind, SOURCES_OF_ALL_KINDS[kind], body if signed is None else signed)
    return client.post(
        url, data=body, headers={**proven, **{name.replace("_", "-"): value for name, value in headers.items()}}
    )


def accepted(response: Any) -> bool:
    return response.status_code == 200 and response.get_json().get("accepted", 1) == 1


# ---- byte order marks


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_a_byte_order_mark_does_not_matter(client: FlaskClient, kind: str) -> None:
    element = order(kind)
    body = json.dumps({"batch": [element]} if kind == "tracking" else element).encode()
    assert accepted(post(client, kind, MARK + body))


@pytest.mark.parametrize("kind", ["segment", "customerio"])
def test_a_mark_before_what_was_signed_does_not_matter_either(client: FlaskClient, kind: str) -> None:
    body = json.dumps(order(kind)).encode()
    assert accepted(post(client, kind, MARK + body, signed=body))
    batch = json.dumps([order(kind, "m-2")]).encode()
    assert accepted(post(client, kind, MARK + batch, signed=batch))
    assert post(client, kind, MARK + body + b" ", signed=body).status_code == 401
    assert post(client, kind, MARK + MARK + body, signed=body).status_code == 401


def test_a_write_key_behind_a_mark_and_a_mark_in_a_form_are_read(client: FlaskClient) -> None:
    body = MARK + json.dumps({**ORDER, "messageId": "m-1", "writeKey": "k"}).encode()
    assert client.post("/v1/track", data=body).get_json() == {"success": True}
    form = {"data": "\ufeff" + json.dumps(order("tealium"))}
    assert accepted(client.post("/webhooks/tealium", data=form, headers={"Authorization": "s"}))


# ---- gzip


@pytest.mark.parametrize("kind", UNSIGNED)
@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_gzip_is_unpacked_where_nothing_is_signed(client: FlaskClient, kind: str, encoding: str) -> None:
    body = MARK + json.dumps(order(kind)).encode()
    # Writers may flush, which leaves several members.
    packed = gzip.compress(body[:20]) + gzip.compress(body[20:])
    assert accepted(post(client, kind, packed, Content_Encoding=encoding))


def bare_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize("kind", UNSIGNED)
@pytest.mark.parametrize(
    ("pack", "encoding"),
    [
        (zlib.compress, "deflate"),
        (bare_deflate, "Deflate"),
        # A proxy unpacked it and left the header, or lost the header.
        (bytes, "gzip"),
        (bytes, "deflate"),
        (gzip.compress, ""),
        (gzip.compress, "deflate"),
    ],
)
def test_what_a_body_begins_with_outweighs_a_wrong_header(
    client: FlaskClient, kind: str, pack: Callable[[bytes], bytes], encoding: str
) -> None:
    body = pack(json.dumps(order(kind)).encode())
    assert accepted(post(client, kind, body, Content_Encoding=encoding) if encoding else post(client, kind, body))


@pytest.mark.parametrize("kind", SIGNED)
def test_gzip_is_refused_with_its_reason_where_the_body_is_signed(client: FlaskClient, kind: str) -> None:
    response = post(client, kind, gzip.compress(json.dumps(order(kind)).encode()), Content_Encoding="gzip")
    assert (response.status_code, response.get_json()) == (415, {"error": "content encoding not supported"})


def test_a_token_alone_signs_nothing(redis: Redis) -> None:
    segment = SOURCES["segment"].configure("shop", SourceSettings(kind="segment", tokens=("t",)), EVENTS)
    segment.verify(gzip.compress(b"{}"), {"Content-Encoding": "gzip", "X-Freshgate-Token": "t"})


PACKED = gzip.compress(b"{}", mtime=0)


@pytest.mark.parametrize("kind", UNSIGNED)
@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        pytest.param(b"{}", "br", 415, id="brotli"),
        pytest.param(b"x{}", "deflate", 400, id="not deflate"),
        pytest.param(b"x{}", "gzip", 400, id="not gzip"),
        pytest.param(PACKED[:-9], "gzip", 400, id="cut off"),
        pytest.param(PACKED + b"{}", "gzip", 400, id="something behind it"),
        pytest.param(gzip.compress(b" " * 17_000_000, mtime=0), "gzip", 413, id="bomb"),
    ],
)
def test_what_is_not_gzip_or_too_large_is_refused(
    client: FlaskClient, kind: str, body: bytes, encoding: str, status: int
) -> None:
    assert post(client, kind, body, Content_Encoding=encoding).status_code == status


def test_nothing_is_unpacked_for_a_stranger(client: FlaskClient) -> None:
    headers = {"Content-Encoding": "gzip", "Authorization": "wrong"}
    assert client.post("/webhooks/tealium", data=gzip.compress(b" " * 17_000_000), headers=headers).status_code == 401


# ---- numbers that are none


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "nan", "-nan", "inf", "undefined", "None"])
@pytest.mark.parametrize("kind", ["segment", "tracking", "rudderstack", "mparticle", "tealium"])
def test_a_number_that_is_none_costs_its_field_only(kind: str, word: str) -> None:
    element = json.dumps(order(kind)).replace("10", word)
    body = f'{{"batch": [{element}]}}' if kind == "tracking" else element
    source = SOURCES[kind].configure("shop", SOURCES_OF_ALL_KINDS[kind], EVENTS)
    (event,) = source.read(body.encode(), RECEIVED_AT)
    assert isinstance(event, Event)
    assert event.fields == {"order_id": "o-1"}
    assert event.unreadable == (() if word in ("undefined", "None") else ("total",))


def test_a_word_within_a_text_stays_a_word() -> None:
    source = SOURCES["segment"].configure("shop", SOURCES_OF_ALL_KINDS["segment"], EVENTS)
    properties = b'{"coupon":"nan, \\"undefined\\"","tax":nan}'
    body = b'{"type":"track","event":"Order Completed","userId":"u-1","properties":%s}' % properties
    (event,) = source.read(body, RECEIVED_AT)
    assert isinstance(event, Event) and event.fields == {"coupon": 'nan, "undefined"'}


@pytest.mark.parametrize("body", [b'{"a":Nil}', b'{"a":01}', b'{"a":nano}', b"{nan}"])
def test_other_words_are_still_not_json(body: bytes) -> None:
    source = SOURCES["rudderstack"].configure("shop", SOURCES_OF_ALL_KINDS["rudderstack"], EVENTS)
    assert source.read(b"[" + body + b"]", RECEIVED_AT) == [Refused("not_json")]


def test_an_id_that_is_a_number_of_none_names_nobody() -> None:
    source = SOURCES["segment"].configure("shop", SOURCES_OF_ALL_KINDS["segment"], EVENTS)
    assert list(source.read(b'{"type":"page","userId":NaN}', RECEIVED_AT)) == [Refused("no_identity")]


# ---- URLs


@pytest.mark.parametrize("url", ["/v1/import", "/v1/batch/", "/v1/import/", "//v1/batch", "/v1//b"])
def test_batches_are_taken_at_the_urls_that_sdks_use(client: FlaskClient, url: str) -> None:
    batch = {"batch": [{**ORDER, "messageId": url}], "writeKey": "k"}
    response = client.post("/", json=batch, environ_overrides={"PATH_INFO": url})
    assert (response.status_code, response.get_json()) == (200, {"success": True})


def test_a_slash_behind_other_urls_does_not_matter(client: FlaskClient) -> None:
    assert client.post("/v1/track/", json={**ORDER, "writeKey": "k"}).status_code == 200
    assert client.options("/v1/t/").status_code == 204
    assert accepted(client.post("/webhooks/tealium/", json=order("tealium"), headers={"Authorization": "s"}))
    assert client.get("/healthz/").status_code == 200
    assert client.post("/v1/imports", json={"batch": []}).status_code == 404


# ---- the size of an item


def test_the_limit_of_an_item_is_of_utf_8_however_it_was_escaped() -> None:
    source = SOURCES["tracking"].configure("shop", SOURCES_OF_ALL_KINDS["tracking"], EVENTS)
    # 30 KB as UTF-8, 90 KB when its letters are escaped.
    text = "Кружка" * 2500
    for ensure_ascii in (True, False):
        items = [{**ORDER, "messageId": f"m-{n}", "properties": {"order_id": "o-1", "a": text * n}} for n in (1, 2)]
        body = json.dumps({"batch": items}, ensure_ascii=ensure_ascii).encode()
        first, second = source.read(body, RECEIVED_AT)
        assert isinstance(first, Event) and second == Refused("too_large")


# ---- mParticle's environments


@pytest.mark.parametrize(
    ("environments", "environment", "is_read"),
    [
        ((), "development", True),
        (("production",), "production", True),
        (("Production",), "PRODUCTION", True),
        (("production",), None, True),
        (("production",), "development", False),
        (("production",), "unknown", False),
        (("production", "unknown"), "unknown", True),
    ],
)
def test_batches_of_other_environments_are_ignored(
    environments: tuple[str, ...], environment: str | None, is_read: bool
) -> None:
    settings = SourceSettings(kind="mparticle", secrets=("s",), environments=environments)
    batch = {**order("mparticle"), "environment": environment, "user_attributes": {"$firstname": "Ada"}}
    verdicts = SOURCES["mparticle"].configure("shop", settings, EVENTS).read(json.dumps(batch).encode(), RECEIVED_AT)
    if is_read:
        assert [type(verdict) for verdict in verdicts] == [Event, Event]
    else:
        assert list(verdicts) == [Ignored(f"environment / {environment}")]


TEXTS = st.text(st.sampled_from('"\\[]{},:/ a\u00e9\n'), max_size=6)
DEEP = st.integers(7, 12).map(lambda depth: json.loads('[{"a":' * depth + "1" + "}]" * depth))
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS | DEEP,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.lists(VALUES, max_size=4), st.sampled_from([None, 1]), st.booleans())
def test_elements_begin_and_end_where_json_says(values: list[Any], indent: int | None, ensure_ascii: bool) -> None:
    body = json.dumps(values, indent=indent, ensure_ascii=ensure_ascii).encode()
    assert [json.loads(body[span.start : span.end]) for span in elements(body)] == values


# ---- other encodings, and JSON that is not quite JSON


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("kind", UNSIGNED)
def test_utf_16_with_its_mark_is_read(client: FlaskClient, kind: str, encoding: str) -> None:
    body = ("" if encoding == "utf-16" else "\ufeff") + json.dumps(order(kind))
    assert accepted(post(client, kind, body.encode(encoding)))


def test_a_signature_is_over_the_bytes_of_utf_16(client: FlaskClient) -> None:
    body = json.dumps(order("segment")).encode("utf-16")
    assert accepted(post(client, "segment", body))
    assert post(client, "segment", body + b" \0", signed=body).status_code == 401


NAMED_ORDER = json.dumps({**ORDER, "messageId": "m-1", "properties": {"order_id": "o-1", "coupon": "NAME"}}).encode()


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"a\nb", "a\nb"),
        (b"a\tb", "a\tb"),
        (b"Caf\xe9", "Caf\ufffd"),
        (b"Ada\\'s", "Ada's"),
        (b"\\x41da", "Ada"),
        (b"C:\\Users", "C:\\Users"),
        (b'a\\nb \\u00e9 \\\\ \\"', 'a\nb \u00e9 \\ "'),
    ],
    ids=repr,
)
@pytest.mark.parametrize("broken", [b"", b', "more": True', b', "more": [1, ], '], ids=repr)
def test_what_templates_and_old_encodings_write_into_a_text_costs_no_order(
    sent: bytes, read: str, broken: bytes
) -> None:
    for kind in ("segment", "rudderstack", "tracking"):
        source = SOURCES[kind].configure("shop", SOURCES_OF_ALL_KINDS[kind], EVENTS)
        element = NAMED_ORDER.replace(b"NAME", sent)[:-1] + broken + b"}"
        body = b'{"batch": [' + element + b"]}" if kind == "tracking" else element
        (event,) = source.read(body, RECEIVED_AT)
        assert isinstance(event, Event)
        assert (event.fields["order_id"], event.fields["coupon"]) == ("o-1", read)


def test_an_id_of_other_bytes_names_nobody() -> None:
    source = SOURCES["segment"].configure("shop", SOURCES_OF_ALL_KINDS["segment"], EVENTS)
    assert source.read(NAMED_ORDER.replace(b"u-1", b"Ren\xe9"), RECEIVED_AT) == [Refused("no_identity")]


@pytest.mark.parametrize("kind", ["segment", "customerio", "rudderstack", "hightouch"])
def test_members_that_are_json_text_are_read(kind: str) -> None:
    source = SOURCES[kind].configure("shop", SOURCES_OF_ALL_KINDS[kind], EVENTS)
    traits = {"email": "ada@example.com"}
    sent = {**ORDER, "properties": json.dumps(ORDER["properties"]), "context": json.dumps({"traits": traits})}
    (event,) = source.read(json.dumps(sent).encode(), RECEIVED_AT)
    assert isinstance(event, Event)
    assert (event.fields["order_id"], event.email) == ("o-1", "ada@example.com")
    identify = {"type": "identify", "userId": "u-1", "traits": json.dumps(traits)}
    (event,) = source.read(json.dumps(identify).encode(), RECEIVED_AT)
    assert isinstance(event, Event) and event.email == "ada@example.com"
    (event,) = source.read(json.dumps({**ORDER, "properties": "{"}).encode(), RECEIVED_AT)
    assert isinstance(event, Event) and not event.fields


@pytest.mark.parametrize("kind", ["segment", "rudderstack", "hightouch"])
def test_an_sdks_batch_that_is_passed_on_is_read_item_by_item(client: FlaskClient, kind: str) -> None:
    items = [order(kind, "m-1"), order(kind, "m-2"), 7]
    for body in ({"batch": items, "writeKey": "k", "sentAt": None}, {"context": {}, "batch": items}):
        answer = post(client, kind, json.dumps(body).encode()).get_json()
        assert (answer["accepted"] + answer["duplicate"], answer["refused"]) == (2, 1)
    for sent in (b'{"batch": {}}', b'{"batch": 7}', b'{"batch": []}'):
        answer = post(client, kind, sent).get_json()
        assert answer["accepted"] == 0


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_an_object_that_was_encoded_twice_is_read(client: FlaskClient, kind: str) -> None:
    element = order(kind)
    text = json.dumps({"batch": [element]} if kind == "tracking" else element)
    assert accepted(post(client, kind, json.dumps(text).encode()))
    for other in ('"text"', '"{', '"\\"{}\\""'):
        assert post(client, kind, other.encode()).status_code == 400
