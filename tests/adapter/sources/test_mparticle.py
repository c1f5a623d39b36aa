"""mParticle's webhook: what becomes of every event of a batch. `test_static_headers.py` tests who is let in.

`contract.py` has what all sources share, `test_payloads.py` single events, `test_mparticle_people.py` a batch's person.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.sources import SOURCES
from adapter.sources.mparticle.source import MPARTICLE, MparticleSource
from catalog.events import EVENTS
from freshgate.declare import EventType, From
from freshgate.errors import CatalogError, RequestError, TooLarge
from freshgate.events import Event, Ignored, Refused
from freshgate.settings import SourceSettings
from freshgate.telemetry.metrics import REFUSED_ELEMENTS
from tests.adapter.sources.contract import FUZZ, JSON, RECEIVED_AT, SourceContract

HEADER, TOKEN = "Basic c2hvcDpzZWNyZXQ=", "second-factor"
AT = 1_789_999_997_842
MPID = -7_046_523_282_345_812_629
SIGNED_IN = {
    "event_type": "custom_event",
    "data": {"event_name": "Signed In", "source_message_id": "m-1", "timestamp_unixtime_ms": AT},
}
PERSON = {"mpid": MPID, "user_identities": [{"identity_type": "customer_id", "identity": "u-1"}]}


def source(**settings: Any) -> MparticleSource:
    return MPARTICLE.configure("shop", SourceSettings(kind="mparticle", **{"secrets": (HEADER,), **settings}), EVENTS)


def read(body: Any, **settings: Any) -> list[Any]:
    return list(source(**settings).read(body if type(body) is bytes else json.dumps(body).encode(), RECEIVED_AT))


def batch(*events: Any, **members: Any) -> dict[str, Any]:
    return {**PERSON, "batch_id": 5, "timestamp_unixtime_ms": AT, **members, "events": list(events)}


def product_action(*products: Any, action: str = "add_to_cart") -> dict[str, Any]:
    data = {"product_action": {"action": action, "products": list(products)}, "timestamp_unixtime_ms": AT}
    return {"event_type": "commerce_event", "data": data}


def names(verdicts: Sequence[Any]) -> list[str]:
    return [verdict.name if isinstance(verdict, Event) else type(verdict).__name__ for verdict in verdicts]


class TestMparticle(SourceContract):
    kind = SOURCES["mparticle"]
    settings = SourceSettings(kind="mparticle", secrets=(HEADER,), tokens=(TOKEN,))
    good = SIGNED_IN

    def headers(self, body: bytes) -> dict[str, str]:
        return {"Authorization": HEADER, "X-Freshgate-Token": TOKEN}

    def body(self, elements: Sequence[Any]) -> bytes:
        return json.dumps(batch(*elements)).encode()


# ---- bodies


def test_one_verdict_an_event_in_order() -> None:
    verdicts = read(batch(SIGNED_IN, {"event_type": "session_end"}, {}, 7))
    assert names(verdicts) == ["Signed In", "Ignored", "Refused", "Refused"]


def test_extra_products_follow_so_that_a_refusals_index_is_its_events() -> None:
    verdicts = read(batch(product_action({"id": "a"}, {"id": "b"}), {}))
    assert names(verdicts) == ["Product Added", "Refused", "Product Added"]
    assert verdicts[0].message_id + "#1" == verdicts[2].message_id


def test_every_product_that_is_taken_out_leaves_the_cart() -> None:
    verdicts = read(
        batch(product_action({"id": "a"}, {"id": "b", "variant": "red"}, {"id": "c"}, action="remove_from_cart"))
    )
    assert [verdict.fields["product"].line for verdict in verdicts] == ["a", "b/red", "c"]
    assert len({verdict.message_id for verdict in verdicts}) == 3


@pytest.mark.parametrize("body", [b"{}", b"[]", b"[{}]", b'{"events":[]}', b'{"events":null}', b' [ {"events":[]} ] '])
def test_a_body_that_says_nothing_is_accepted(body: bytes) -> None:
    assert read(body) == []


@pytest.mark.parametrize("body", [b"", b"7", b'"text"', b"null", b"{", b'{"events":[', b"[{}", b"{} {}", b"\xff"])
def test_a_body_that_is_no_json_object_or_array_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(RequestError):
        read(body)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b'{"event_type":"custom_event","data":{"a":01}}', "not_json"),
        (b"{'a':1}", "not_json"),
        (b'{"a":1]', "not_json"),
        (b"nonsense", "not_json"),
        (b'{"b":' + b"[" * 65 + b"NaN" + b"]" * 65 + b"}", "too_deep"),
        (b"[" * 10_000 + b"]" * 10_000, "too_deep"),
    ],
)
def test_an_event_that_cannot_be_decoded_does_not_cost_its_neighbours(broken: bytes, reason: str) -> None:
    good = json.dumps(SIGNED_IN).encode()
    body = b'{"mpid":-5,"events":[%s, %s ,%s],"batch_id":1}' % (good, broken, good)
    first, second, third = read(body)
    assert first == third and first.anonymous_id == "-5"
    assert second == Refused(reason)


def test_half_an_emoji_is_read_with_a_replacement_character() -> None:
    screen = b'{"event_type":"screen_view","data":{"screen_name":"half \\ud83d"}}'
    (verdict,) = read(b'{"mpid":5,"events":[%s]}' % screen)
    assert verdict.fields == {"name": "half \ufffd"}


@pytest.mark.parametrize("member", [b"[1e999]", b"NaN", b"[" * 100 + b"]" * 100, b'"\\ud83d"', b"{]"])
def test_a_member_that_cannot_be_decoded_costs_only_itself(member: bytes) -> None:
    good = json.dumps(SIGNED_IN).encode()
    for name in (b"device_info", b"user_attributes", b"consent_state", b"user_identities", b"timestamp_unixtime_ms"):
        (verdict,) = read(b'{"mpid":5,"%s":%s,"events":[%s]}' % (name, member, good))
        assert (verdict.name, verdict.anonymous_id) == ("Signed In", "5")


def test_a_broken_batch_costs_no_other_batch() -> None:
    good = json.dumps(batch(SIGNED_IN)).encode()
    first, number, nonsense, nameless, last, crossed = read(b"[%s,7,nonsense,{1:2},%s,{]]" % (good, good))
    assert [first] == [last] == read(good)
    assert number == Refused("not_an_object")
    assert nonsense == nameless == crossed == Refused("not_json")


def test_an_event_that_is_just_shallow_enough_to_be_decoded_never_fails_the_body() -> None:
    for depth in range(880, 1001, 2):
        event = b'{"event_type":"screen_view","data":{"deep":%s%s}}' % (b"[" * depth, b"]" * depth)
        verdicts = read(b'{"mpid":5,"events":[%s,{}],"user_attributes":{"x":%s%s}}' % (event, b"[" * 900, b"]" * 900))
        assert verdicts[1] == Refused("no_type")
        assert names(verdicts)[0] == "Screen" or verdicts[0].reason == "too_deep"


def test_events_batches_and_extra_products_all_count_as_elements() -> None:
    read(batch(SIGNED_IN, SIGNED_IN), max_elements=2)
    bodies: list[Any] = [[batch(SIGNED_IN)] * 3, [{}] * 3, [batch(SIGNED_IN, SIGNED_IN), {}]]
    for body in (*bodies, batch(product_action(*[{"id": "a"}] * 9))):
        with pytest.raises(TooLarge) as caught:
            read(body, max_elements=2)
        assert "FRESHGATE_SOURCES__SHOP__MAX_ELEMENTS" in caught.value.hint
    with pytest.raises(TooLarge):
        read(b'{"a":01,"mpid":1,"events":[1,2,{"a":01}]}', max_elements=2)


@FUZZ
@given(data=st.data())
def test_wrong_types_in_any_member_of_a_batch_never_fail_the_other_batches(data: Any) -> None:
    whole = {**batch(SIGNED_IN), "user_attributes": {}, "consent_state": {}, "source_request_id": "r"}
    firehose = {"type": "event_processing_request", "subject_identities": {}, "subject_request_id": 1, "id": 1}
    requests = {"type": "dsr_processing_request", "subject_request_type": "erasure"}
    hostile = {name: data.draw(JSON | st.just(value)) for name, value in {**whole, **firehose}.items()}
    request = {**hostile, **data.draw(st.sampled_from([firehose, requests, {}]))}
    verdicts = read([batch(SIGNED_IN), hostile, request, batch(SIGNED_IN)])
    events = [verdict for verdict in verdicts if isinstance(verdict, Event) and verdict.user_id == "u-1"]
    assert len([event for event in events if event.message_id == "m-1"]) >= 2
    for verdict in verdicts:
        assert isinstance(verdict, Event | Ignored | Refused)
        if isinstance(verdict, Refused):
            assert verdict.reason in REFUSED_ELEMENTS and verdict.reason != "internal"


@FUZZ
@given(data=JSON, lists=JSON, new=JSON, kind=st.sampled_from(["commerce_event", "opt_out", "impression"]))
def test_wrong_types_in_any_event_are_never_our_fault(data: Any, lists: Any, new: Any, kind: str) -> None:
    mixed = {"product_action": new, "promotion_action": data, "product_impressions": lists, "is_opted_out": data}
    shown = {"product_impressions": [{"products": lists, "product_impression_list": data}, new]}
    bought = {"product_action": {"action": "purchase", "products": lists, "total_amount": data, "transaction_id": new}}
    changed = {"user_attribute_name": "email", "new": data}
    events = [{"event_type": kind, "data": part} for part in (mixed, shown, bought, changed, data)]
    events += [{"event_type": f"user_{part}_change", "data": changed} for part in ("attribute", "identity")]
    events.append({"event_type": "user_identity_change", "data": {"new": {"identity_type": new}}})
    for verdict in read(batch(*events)):
        assert not isinstance(verdict, Refused) or verdict.reason in REFUSED_ELEMENTS[:-1]


def lamp_source(spelling: From) -> MparticleSource:
    lamp = EventType(name="Lamp Lit", fields={"lit": "number"}, sources={"mparticle": spelling})
    return MPARTICLE.configure("shop", SourceSettings(kind="mparticle", secrets=(HEADER,)), (lamp,))


def test_a_function_reads_what_no_path_can_say_and_its_fault_is_kept_for_the_quarantine() -> None:
    lit = {"event_type": "lamp", "data": {"lamps": [1, 2]}}
    counting = lamp_source(
        From(when={"event_type": "lamp"}, read=lambda element: {"lit": len(element["data"]["lamps"])})
    )
    body = json.dumps(batch(lit, {"event_type": "lamp"}, lit)).encode()
    first, failed, last = counting.read(body, RECEIVED_AT)
    assert isinstance(first, Event) and first == last and first.fields == {"lit": 2}
    assert isinstance(failed, Refused) and failed.reason == "internal"
    assert "KeyError" in failed.fault
    mended = lamp_source(From(when={"event_type": "lamp"}))
    (recovered,) = mended.read(failed.raw, RECEIVED_AT)
    assert isinstance(recovered, Event) and (recovered.user_id, recovered.occurred_at) == ("u-1", AT)


@pytest.mark.parametrize(
    "wrong",
    [
        From(when={}),
        From(when={"event_type": "lamp"}, paths={"undeclared": "data.x"}),
        From(when={"event_type": ("lamp", "lamp")}),
    ],
)
def test_a_catalog_that_cannot_be_compiled_stops_the_start_and_names_the_event(wrong: From) -> None:
    with pytest.raises(CatalogError, match="Lamp Lit"):
        lamp_source(wrong)
