"""Segment's webhook: what becomes of every element of a body.

`test_segment_signature.py` tests who is let in; `contract.py` has what all sources promise, `test_payloads.py` pairs.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapter.sources import SOURCES
from adapter.sources.segment.kinds import SEGMENT
from freshgate.declare import EventType, From
from freshgate.errors import CatalogError, RequestError
from freshgate.events import Event, Ignored, Refused
from freshgate.settings import SourceSettings
from tests.adapter.sources.contract import RECEIVED_AT, SourceContract, from_page
from tests.adapter.sources.test_segment_signature import SECRET, TOKEN, sign, source

ADDED = b'{"type":"track","event":"Product Added","userId":"u-1","messageId":"m-1","properties":{"product_id":"p"}}'


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


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"a":01}', "not_json"),
        (b'{"a":Nil}', "not_json"),
        (b'{"a":tru}', "not_json"),
        (b"{'a':1}", "not_json"),
        (b'{"a":1}}', "not_json"),
        (b"", "not_json"),
        (b'{"a":\xff}', "not_json"),
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
