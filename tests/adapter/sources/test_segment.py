"""Segment's webhook: who is let in, and what becomes of every element of a body.

The shared promises are in `contract.py`; single events as fixtures are in `test_payloads.py`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from time import monotonic
from typing import Any

import pytest
from werkzeug.datastructures import EnvironHeaders

from adapter.sources import SOURCES
from adapter.sources.segment.kinds import SEGMENT
from adapter.sources.segment.signature import BatchWithoutToken
from adapter.sources.segment.source import SegmentSource
from catalog.events import EVENTS
from freshgate.declare import EventType, From
from freshgate.errors import CatalogError, NotAuthentic, RequestError, UnsupportedBody
from freshgate.events import Event, Ignored, Refused
from freshgate.settings import SourceSettings
from tests.adapter.sources.contract import RECEIVED_AT, SourceContract, from_page

SECRET, TOKEN = "abc123", "second-factor"
SINGLE, SINGLE_SIGNED = b'{"cool":true}', "5099cab379b3be52908387457007040cc934ef86"
BATCH, BATCH_SIGNED = b'[{"cool":false},{"cool":true}]', "c702b94a2569dd8d2f7185ce0ae951021bef4706"
ADDED = b'{"type":"track","event":"Product Added","userId":"u-1","messageId":"m-1","properties":{"product_id":"p"}}'


def source(secrets: tuple[str, ...] = (SECRET,), tokens: tuple[str, ...] = (TOKEN,), **more: Any) -> SegmentSource:
    return SEGMENT.configure("shop", SourceSettings(kind="segment", secrets=secrets, tokens=tokens, **more), EVENTS)


def sign(signed: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha1).hexdigest()


def read(body: bytes, **more: Any) -> list[Any]:
    return list(source(**more).read(body, RECEIVED_AT))


class TestSegment(SourceContract):
    kind = SOURCES["segment"]
    settings = SourceSettings(kind="segment", secrets=(SECRET,), tokens=(TOKEN,))
    good = {
        **json.loads(ADDED),
        "anonymousId": "a-1",
        "timestamp": "2026-09-21T14:13:17.842Z",
        "sentAt": "2026-09-21T14:13:17.590Z",
        "context": {"traits": {"email": "ada@example.com"}},
        "traits": {},
    }

    def headers(self, body: bytes) -> dict[str, str]:
        return {"X-Signature": sign(body), "X-Freshgate-Token": TOKEN}


# ---- the signature


def test_a_single_object_is_signed_as_a_whole() -> None:
    source().verify(SINGLE, {"X-Signature": SINGLE_SIGNED})


def test_a_batch_is_signed_over_its_first_element_and_vouched_for_by_a_token() -> None:
    source().verify(BATCH, {"X-Signature": BATCH_SIGNED, "X-Freshgate-Token": TOKEN})


def test_headers_of_a_wsgi_server_are_understood_whatever_their_case() -> None:
    source().verify(BATCH, EnvironHeaders({"HTTP_X_SIGNATURE": BATCH_SIGNED, "HTTP_X_FRESHGATE_TOKEN": TOKEN}))


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "sha1=" + SINGLE_SIGNED,
        SINGLE_SIGNED[:-1],
        SINGLE_SIGNED + "0",
        " " + SINGLE_SIGNED,
        SINGLE_SIGNED.upper(),
        sign(SINGLE, "another secret"),
        "é" * 40,
        "\ud83d" * 40,
        "\x00",
        hmac.new(SECRET.encode(), SINGLE, hashlib.sha256).hexdigest(),
    ],
    ids=[
        *("missing", "empty", "prefixed", "too short", "too long", "spaced", "upper case", "wrong key"),
        *("not ASCII", "no text at all", "control character", "SHA-256"),
    ],
)
def test_any_other_signature_is_refused(signature: str | None) -> None:
    with pytest.raises(NotAuthentic) as caught:
        source().verify(SINGLE, {} if signature is None else {"X-Signature": signature})
    assert caught.value.status == 401
    assert "FRESHGATE_SOURCES__SHOP__SECRETS" in caught.value.hint


@pytest.mark.parametrize("at", range(len(SINGLE)))
def test_a_body_altered_by_one_byte_is_refused(at: int) -> None:
    altered = SINGLE[:at] + bytes([SINGLE[at] ^ 1]) + SINGLE[at + 1 :]
    with pytest.raises(NotAuthentic):
        source().verify(altered, {"X-Signature": SINGLE_SIGNED, "X-Freshgate-Token": TOKEN})


def test_a_signature_over_the_whole_array_is_refused() -> None:
    with pytest.raises(NotAuthentic):
        source().verify(BATCH, {"X-Signature": sign(BATCH), "X-Freshgate-Token": TOKEN})


def test_a_batch_of_one_needs_no_token() -> None:
    source().verify(b' [ {"cool":true}\n] ', {"X-Signature": SINGLE_SIGNED})


@pytest.mark.parametrize("tail", [b',{"forged":1}]', b" , 7]", b"],[]", b'] {"forged":1}', b",]", b""])
def test_a_tail_forged_behind_a_captured_event_is_refused_without_a_token(tail: bytes) -> None:
    with pytest.raises(NotAuthentic):
        source().verify(b"[" + SINGLE + tail, {"X-Signature": SINGLE_SIGNED})


def test_a_signed_batch_without_a_token_can_be_counted_and_names_the_setting() -> None:
    with pytest.raises(BatchWithoutToken) as caught:
        source(tokens=()).verify(BATCH, {"X-Signature": BATCH_SIGNED})
    assert caught.value.kind == "batch_without_token"
    assert "FRESHGATE_SOURCES__SHOP__TOKENS" in caught.value.hint


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + " ", "é", "\ud83d", "☃"])
@pytest.mark.parametrize(("body", "signature"), [(SINGLE, SINGLE_SIGNED), (BATCH, BATCH_SIGNED)])
def test_a_wrong_token_is_refused_even_beside_a_right_signature(body: bytes, signature: str, token: str) -> None:
    with pytest.raises(NotAuthentic):
        source().verify(body, {"X-Signature": signature, "X-Freshgate-Token": token})


def test_a_batch_needs_its_signature_even_with_a_right_token() -> None:
    with pytest.raises(NotAuthentic):
        source().verify(BATCH, {"X-Freshgate-Token": TOKEN})


def test_an_empty_array_is_let_in_by_its_token_alone() -> None:
    source().verify(b" [ ] ", {"X-Freshgate-Token": TOKEN})
    with pytest.raises(NotAuthentic):
        source().verify(b"[]", {"X-Signature": sign(b"[]")})


def test_without_secrets_the_token_decides() -> None:
    source(secrets=()).verify(BATCH, {"X-Freshgate-Token": TOKEN})
    for headers in ({}, {"X-Freshgate-Token": "x"}, {"X-Signature": BATCH_SIGNED}):
        with pytest.raises(NotAuthentic):
            source(secrets=()).verify(BATCH, headers)


def test_old_and_new_secrets_and_tokens_are_valid_at_once() -> None:
    rotating = source(secrets=("new", SECRET), tokens=("new-token", TOKEN))
    rotating.verify(BATCH, {"X-Signature": BATCH_SIGNED, "X-Freshgate-Token": TOKEN})
    rotating.verify(BATCH, {"X-Signature": sign(b'{"cool":false}', "new"), "X-Freshgate-Token": "new-token"})


def test_secrets_beyond_a_hash_block_and_beyond_ascii_sign_as_hmac_says() -> None:
    for secret in ("k" * 64, "k" * 65, "k" * 200, "clé"):
        source(secrets=(secret,)).verify(SINGLE, {"X-Signature": sign(SINGLE, secret)})


def test_a_token_beyond_ascii_arrives_as_latin_1_text() -> None:
    wire = "clé".encode().decode("latin-1")
    source(secrets=(), tokens=("clé",)).verify(SINGLE, {"X-Freshgate-Token": wire})


def test_the_extensible_webhook_signs_the_object_within_its_wrapper() -> None:
    body = b'[{"json": ' + SINGLE + b' }, {"json": {"cool":false}}]'
    source().verify(body, {"X-Signature": SINGLE_SIGNED, "X-Freshgate-Token": TOKEN})


@pytest.mark.parametrize("extra", [b',"type":"delete"', b',"json":{}', b",7", b" 7", b"}"])
def test_nothing_beside_the_wrapped_object_is_covered_by_its_signature(extra: bytes) -> None:
    with pytest.raises(NotAuthentic):
        source().verify(b'[{"json":' + SINGLE + extra + b"}]", {"X-Signature": SINGLE_SIGNED})


def test_brackets_within_texts_do_not_end_the_first_element() -> None:
    first = rb'{"a":"}]\"[{\\","b":[1,{"c":"],["}]}'
    source().verify(b"[" + first + b"]", {"X-Signature": sign(first)})


@pytest.mark.parametrize("piece", [b"[", b"{}", b"}", b'"', b'"",', b"\\", b" "])
def test_an_endless_body_from_a_stranger_is_refused_within_a_second(piece: bytes) -> None:
    started = monotonic()
    with pytest.raises(NotAuthentic):
        source().verify(b"[" + piece * 3_000_000, {"X-Signature": SINGLE_SIGNED})
    assert monotonic() - started < 1


@pytest.mark.parametrize(
    "header",
    [{"Content-Encoding": "gzip"}, {"Content-Type": "Application/x-www-form-urlencoded; charset=utf-8"}],
)
def test_a_body_that_was_not_signed_as_sent_is_unsupported(header: dict[str, str]) -> None:
    with pytest.raises(UnsupportedBody) as caught:
        source().verify(SINGLE, {"X-Signature": SINGLE_SIGNED, **header})
    assert caught.value.status == 415


# ---- the elements


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"a":01}', "not_json"),
        (b'{"a":Nil}', "not_json"),
        (b'{"a":tru}', "not_json"),
        (b"{'a':1}", "not_json"),
        (b'{"a":1}}', "not_json"),
        (b"", "not_json"),
        (b'{"type":"\xff"}', "not_json"),
        (b"[" * 10_000 + b"]" * 10_000, "too_deep"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "no_type"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"type":7}', "no_type"),
        (b'{"json":7}', "no_type"),
        (b'{"json":{"json":{}}}', "no_type"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_a_broken_element_is_refused_alone(bad: bytes, reason: str) -> None:
    first, broken, last = read(b"[" + ADDED + b"," + bad + b", " + ADDED + b"]")
    assert isinstance(first, Event) and first == last
    assert broken == Refused(reason)


@pytest.mark.parametrize(
    "body", [b"", b" ", b"7", b"null", b'"x"', b"[", b"{", b'[{"a":1}', b'{"a":"', b"[]]", b"{}{}", b"\xef\xbb\xbf{}"]
)
def test_a_body_that_does_not_close_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        read(body)
    assert (caught.value.status, caught.value.reason) == (400, "not JSON")


def test_half_an_emoji_is_replaced_and_its_event_kept() -> None:
    cut = ADDED.replace(b'"product_id":"p"', rb'"product_id":"p","name":"Lamp \ud83d"')
    first, half, last = read(b"[" + ADDED + b"," + cut + b"," + ADDED + b"]")
    assert first == last
    assert half.fields["product"].name == "Lamp \ufffd"


def test_ids_that_differ_in_what_was_lost_are_nobodys() -> None:
    lost = rb'{"type":"track","event":"Product Added","userId":"\ud83d","anonymousId":"a-1"}'
    (event,) = read(lost)
    assert (event.user_id, event.anonymous_id) == (None, "a-1")


def test_an_absurd_number_costs_its_field_and_not_the_event() -> None:
    for amount in (b"1e400", b"9" * 5000, b"-1e13", b'"NaN"', b'"1_000"', b"true", b"[]"):
        (event,) = read(b'{"type":"track","event":"Order Completed","userId":"u","properties":{"total":%s}}' % amount)
        assert (event.fields, event.unreadable) == ({}, ("total",))


def test_huge_and_negative_whole_numbers_are_ids_exactly() -> None:
    for digits in (b"9007199254740993", b"-5", b"123456789012345678901234567890"):
        (event,) = read(b'{"type":"page","userId":%s}' % digits)
        assert event.user_id == digits.decode()


@pytest.mark.parametrize(
    "junk", ['""', '" "', '"NULL"', '" undefined "', "0", "null", "1.5", "true", "{}", "[]", f'"{"x" * 257}"']
)
def test_junk_ids_identify_nobody(junk: str) -> None:
    assert read(b'{"type":"page","userId":%s}' % junk.encode()) == [Refused("no_identity")]


def test_an_address_is_enough_for_a_suppression_and_for_nothing_else() -> None:
    body = b'{"action":"track","event":"%s","context":{"traits":{"email":"a@example.com"}}}'
    assert isinstance(read(body % b"Unsubscribed")[0], Event)
    assert read(body % b"Email Opened") == [Refused("no_identity")]
    assert read(b'{"type":"track","event":"Unsubscribed"}') == [Refused("no_identity")]


@pytest.mark.parametrize("call", [b'{"type":"delete","userId":"u"}', b'{"type":"alias","userId":"u","previousId":"a"}'])
def test_a_browser_may_neither_delete_nor_link_people(call: bytes) -> None:
    assert isinstance(read(call)[0], Event)
    assert from_page(read(call, trust="browser")) == [Refused("not_trusted")]


def test_the_same_bytes_without_a_message_id_get_the_same_id_in_any_batch() -> None:
    bare = ADDED.replace(b'"messageId":"m-1",', b"")
    (alone,) = read(b" " + bare + b"\n")
    _, second, broken, _ = read(b"[" + ADDED + b", " + bare + b" ,{NaN}," + ADDED + b"]")
    assert alone.message_id == second.message_id and broken == Refused("not_json")
    assert read(b"[%s,%s]" % (ADDED, bare))[1].message_id == alone.message_id


def test_ten_thousand_elements_are_read_when_the_settings_allow_it() -> None:
    body = b"[" + b",".join([ADDED] * 10_000) + b"]"
    assert len(read(body, max_elements=10_000)) == 10_000


def test_an_unknown_name_is_ignored_and_cut() -> None:
    assert read(b'{"type":"track","event":"%s"}' % (b"x" * 300)) == [Ignored("track / " + "x" * 100)]


def test_a_context_of_another_type_costs_nothing_but_itself() -> None:
    for context in (b"null", b"7", b'"x"', b"[]", b'{"traits":7}', b'{"traits":{"email":{}}}'):
        (event,) = read(ADDED[:-1] + b',"context":' + context + b"}")
        assert isinstance(event, Event) and event.email is None


def test_lines_without_an_id_are_left_out_and_the_rest_capped() -> None:
    lines = [{"name": "no id"}] + [{"sku": f"s-{number}"} for number in range(300)]
    body = {"type": "track", "event": "Cart Viewed", "userId": "u", "properties": {"products": lines}}
    (event,) = read(json.dumps(body).encode())
    assert len(event.fields["products"]) == 249


def test_a_function_of_the_catalog_reads_what_no_path_can_say() -> None:
    lamp = EventType(
        name="Lamp Lit",
        sources={
            "segment": From(
                when={"type": "track", "event": "Lamp Lit"}, read=lambda element: {"lit": len(element["lamps"])}
            )
        },
    )
    lit = SEGMENT.configure("shop", SourceSettings(kind="segment", secrets=(SECRET,)), (lamp,))
    (event,) = lit.read(b'{"type":"track","event":"Lamp Lit","userId":"u","lamps":[1,2]}', RECEIVED_AT)
    assert isinstance(event, Event) and event.fields == {"lit": 2}


@pytest.mark.parametrize(
    "wrong",
    [
        From(when={"event": "X"}),
        From(when={"type": "track", "event": "X", "channel": "web"}),
        From(when={"type": "track", "event": "X"}, paths={"undeclared": "properties.x"}),
        From(when={"type": "track", "event": ("X", "X")}),
    ],
)
def test_a_catalog_that_cannot_be_compiled_stops_the_start_and_names_the_event(wrong: From) -> None:
    with pytest.raises(CatalogError, match="Odd"):
        source_settings = SourceSettings(kind="segment", secrets=(SECRET,))
        SEGMENT.configure("shop", source_settings, (EventType(name="Odd", sources={"segment": wrong}),))
