"""Tealium's webhooks: which requests are let in, every shape of a body, visitors and audiences.

`contract.py` has the promises that all sources share, `test_payloads.py` single elements as fixtures, and
`test_tealium_http.py` tests the routes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import given

from adapter.sources import SOURCES
from adapter.sources.base import NO_CONTEXT, RequestContext
from adapter.sources.tealium.source import TEALIUM, TealiumSource
from catalog.events import EVENTS
from freshgate.declare import EventType, From
from freshgate.errors import CatalogError, NotAuthentic, RequestError, TooLarge
from freshgate.events import Event, Ignored, Refused
from freshgate.settings import SourceSettings
from freshgate.telemetry.metrics import REFUSED_ELEMENTS
from tests.adapter.sources.contract import FUZZ, JSON, RECEIVED_AT, SourceContract, from_page

HEADER, TOKEN = "Basic c2hvcDpzZWNyZXQ=", "second-factor"
AT = 1_789_999_997_000
FORM = "application/x-www-form-urlencoded"
ADDED = {
    "tealium_event": "cart_add",
    "tealium_visitor_id": "v-1",
    "tealium_timestamp_epoch": AT // 1000,
    "customer_id": "u-1",
    "product_id": ["L-1"],
    "order_id": "1001",
    "dom.url": "https://shop.example.com/",
}
EVENT_STREAM = {
    "data": {"udo": ADDED, "dom": {}, "firstparty_tealium_cookies": {"TAPID": "t-1"}},
    "post_time": AT + 400,
    "event_id": "e-1",
    "visitor_id": "v-1",
}
VISITOR: dict[str, Any] = {
    "_id": "v-1",
    "properties": {"Customer ID": "u-1", "Customer Email": "ada@example.com"},
    "current_visit": {"dates": {"last_event_ts": AT}},
}
JOINED = RequestContext("application/json", "Lamp lovers", "joined")
LOVERS = EventType(
    name="Fell in Love",
    fields={"plan": "text"},
    sources={"tealium": From(when={"audience": "Lamp lovers", "turn": "joined"}, paths={"plan": "plan"})},
)
PAYLOADS = Path(__file__).parents[2] / "payloads" / "tealium"


def source(catalog: tuple[EventType, ...] = EVENTS, **settings: Any) -> TealiumSource:
    return TEALIUM.configure("shop", SourceSettings(kind="tealium", **{"secrets": (HEADER,), **settings}), catalog)


def read(body: Any, context: RequestContext = NO_CONTEXT, **options: Any) -> list[Any]:
    raw = body if type(body) is bytes else json.dumps(body).encode()
    return list(source(**options).read(raw, RECEIVED_AT, context))


def names(verdicts: list[Any]) -> list[str]:
    return [verdict.name if isinstance(verdict, Event) else type(verdict).__name__ for verdict in verdicts]


class TestTealium(SourceContract):
    kind = SOURCES["tealium"]
    settings = SourceSettings(kind="tealium", secrets=(HEADER,), tokens=(TOKEN,))
    # An event without products, since each further product of a cart event is an event of its own.
    good = {"tealium_event": "user_login", "tealium_visitor_id": "v-1", "customer_id": "u-1", "dom.url": "/", "cp": {}}

    def headers(self, body: bytes) -> dict[str, str]:
        return {"Authorization": HEADER, "X-Freshgate-Token": TOKEN}


class TestTealiumEventStream(TestTealium):
    good = EVENT_STREAM


# ---- the header


@pytest.mark.parametrize("header", [None, "", HEADER[:-1], HEADER + " ", HEADER.lower(), HEADER.split()[1], "é", "☃"])
def test_any_other_authorization_is_refused_and_names_the_setting(header: str | None) -> None:
    with pytest.raises(NotAuthentic) as caught:
        source().verify(b"{}", {} if header is None else {"Authorization": header})
    assert "FRESHGATE_SOURCES__SHOP__SECRETS" in caught.value.hint
    assert HEADER not in caught.value.hint + caught.value.reason


def test_basic_and_bearer_are_valid_at_once_while_they_are_changed() -> None:
    for header in (HEADER, "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x"):
        source(secrets=(HEADER, "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x")).verify(b"{}", {"Authorization": header})


def test_the_token_alone_decides_where_there_is_no_secret() -> None:
    alone = source(secrets=(), tokens=(TOKEN,))
    alone.verify(b"{}", {"X-Freshgate-Token": TOKEN})
    with pytest.raises(NotAuthentic):
        alone.verify(b"{}", {"X-Freshgate-Token": TOKEN + "x"})


# ---- bodies


def event_bodies() -> list[Any]:
    event = json.dumps(EVENT_STREAM)
    return [
        pytest.param(event, "text/plain", id="json whatever it is called"),
        pytest.param(event, FORM, id="json called a form"),
        pytest.param(f"\n [{event}] ", FORM, id="array"),
        pytest.param(urlencode({"data": event}), FORM, id="form"),
        pytest.param(urlencode({"data": event}), f" {FORM.upper()}; charset=UTF-8", id="form in capitals"),
        pytest.param(urlencode({"key": "x", "data": event, "z": ""}), FORM, id="form with other fields"),
        pytest.param("data=" + quote(event), "", id="form without its content type"),
    ]


@pytest.mark.parametrize(("body", "content_type"), event_bodies())
def test_one_event_is_the_same_in_every_kind_of_body(body: str, content_type: str) -> None:
    assert read(body.encode(), RequestContext(content_type)) == read(EVENT_STREAM)


def test_a_form_of_plain_fields_is_a_data_layer() -> None:
    body = "tealium_event=cart_view&tealium_visitor_id=v-1&product_id=L-1&product_id=L-2&product_price[]=39.95"
    (verdict,) = read(body.encode(), RequestContext(FORM))
    assert [line.product_id for line in verdict.fields["products"]] == ["L-1", "L-2"]
    assert verdict.fields["products"][0].price == "39.95"
    assert verdict.anonymous_id == "v-1" and verdict.occurred_at == RECEIVED_AT


@pytest.mark.parametrize(
    "body", [b"", b"7", b"null", b'"text"', b"{", b"[{}", b"{} {}", b"\xff", b"data=", b"data=7", b"data=%7B"]
)
def test_a_body_that_is_neither_json_nor_a_form_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(RequestError):
        read(body)


def test_a_form_of_too_many_fields_is_refused_as_a_whole() -> None:
    with pytest.raises(RequestError):
        read(b"&".join(b"a%d=1" % n for n in range(2001)), RequestContext(FORM))


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b'{"tealium_event":"cart_add","a":NaN}', "not_json"),
        (b"nonsense", "not_json"),
        (b'{"b":' + b"[" * 65 + b"NaN" + b"]" * 65 + b"}", "too_deep"),
        (b"[" * 10_000 + b"]" * 10_000, "too_deep"),
    ],
)
def test_an_element_that_cannot_be_decoded_does_not_cost_its_neighbours(broken: bytes, reason: str) -> None:
    good = json.dumps(ADDED).encode()
    first, second, third = read(b"[%s, %s ,%s]" % (good, broken, good))
    assert first == third and first.user_id == "u-1"
    assert second == Refused(reason)


def test_half_an_emoji_and_a_number_beyond_floats_cost_only_themselves() -> None:
    raw = json.dumps({**ADDED, "product_name": "X"}).encode().replace(b'"X"', b'"\\ud83d"')
    (verdict,) = read(raw[:-1] + b',"product_price":1e400}')
    assert (verdict.fields["product"].name, verdict.fields["product"].price) == ("�", "")


def test_the_events_of_bulks_count_towards_the_limit() -> None:
    bulk: dict[str, Any] = {"shared": {}, "events": [{}, {}]}
    assert len(read([bulk], max_elements=2)) == 2
    with pytest.raises(TooLarge):
        read([bulk, {}], max_elements=2)


def test_extra_verdicts_follow_so_that_a_refusals_index_is_its_element() -> None:
    verdicts = read([{**ADDED, "product_id": ["L-1", "L-2"]}, {}, VISITOR])
    assert names(verdicts) == ["Product Added", "Refused", "Identify", "Product Added"]


# ---- ids and times


def test_events_that_differ_in_one_value_have_two_message_ids() -> None:
    first, second, third = read([ADDED, {**ADDED, "product_id": ["L-2"]}, dict(reversed(ADDED.items()))])
    assert first.message_id != second.message_id
    assert first.message_id == third.message_id and first.message_id.startswith("h-")


def test_an_event_id_of_a_flat_data_layer_is_the_shops_and_no_message_id() -> None:
    events = read([{**ADDED, "event_id": "12"}, EVENT_STREAM])
    assert [event.message_id[:2] for event in events] == ["h-", "e-"]


@pytest.mark.parametrize("event_id", ["null", "", "x" * 201, 1.5, None, ["e-1"]])
def test_an_event_id_that_identifies_nothing_is_replaced_by_a_hash(event_id: Any) -> None:
    assert read({**EVENT_STREAM, "event_id": event_id})[0].message_id.startswith("h-")


def test_the_same_bytes_later_are_the_same_event_but_for_the_arrival() -> None:
    body = json.dumps({**EVENT_STREAM, "event_id": None}).encode()
    (first,), (later,) = source().read(body, RECEIVED_AT), source().read(body, RECEIVED_AT + 3_600_000)
    assert isinstance(later, Event)
    assert first == msgspec.structs.replace(later, received_at=RECEIVED_AT)


def test_the_settings_say_which_variables_hold_user_id_and_address() -> None:
    layer = {**ADDED, "login.id": "u-9", "member_mail": "grace@example.com", "customer_email": "ada@example.com"}
    (verdict,) = read(layer, user_id_keys=("club_id", "login.id"), email_keys=("member_mail",))
    assert (verdict.user_id, verdict.email) == ("u-9", "grace@example.com")


def test_the_first_variable_that_names_somebody_wins() -> None:
    (verdict,) = read({**ADDED, "customer_id": "undefined", "user_id": 9_007_199_254_740_993})
    assert verdict.user_id == "9007199254740993"


def test_a_friends_address_is_not_taken_for_the_persons() -> None:
    (verdict,) = read({**ADDED, "recipient_email": "friend@example.com", "invitee_email": "friend@example.com"})
    assert verdict.email is None


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"visitor_id": "a", "tealium_visitor_id": "b"}, "a"),
        ({"cp.TAPID": "c", "tealium_visitor_id": "b"}, "c"),
        ({"tealium_visitor_id": "b", "cp.utag_main_v_id": "d"}, "b"),
        ({"cp.utag_main_v_id": "d"}, "d"),
        ({"tealium_visitor_id": "undefined", "cp.utag_main_v_id": "d"}, "d"),
        ({"data": {"udo": {"tealium_event": "link"}, "firstparty_tealium_cookies": {"utag_main_v_id": "e"}}}, "e"),
    ],
)
def test_the_visitor_id_is_the_one_that_tealium_prefers(payload: Mapping[str, Any], expected: str) -> None:
    linked = EventType(name="Linked", sources={"tealium": From(when={"tealium_event": "link"})})
    (verdict,) = read({"tealium_event": "link", **payload}, catalog=(linked,))
    assert verdict.anonymous_id == expected


def test_reading_leaves_the_payload_as_it_is() -> None:
    layer = {"dom": {"title": "Lamps"}, **ADDED}
    (unknown,) = read({**layer, "tealium_event": "custom_click"})
    assert unknown.element() == {**layer, "tealium_event": "custom_click"}


# ---- visitors and audiences


def test_an_unmapped_membership_is_ignored_by_name_and_the_profile_is_read() -> None:
    membership, profile = read(VISITOR, JOINED)
    assert membership == Ignored("audience Lamp lovers joined")
    assert (profile.name, profile.user_id, profile.anonymous_id) == ("Identify", "u-1", "v-1")
    assert (profile.email, profile.occurred_at) == ("ada@example.com", AT)


def test_a_membership_becomes_the_event_type_that_names_it() -> None:
    visitor = {**VISITOR, "audiences_joined_at": {"Lamp lovers": AT - 5000}}
    visitor["properties"] = {**VISITOR["properties"], "Plan": "Gold"}
    membership, profile = read(visitor, JOINED, catalog=(*EVENTS, LOVERS))
    assert (membership.name, membership.occurred_at) == ("Fell in Love", AT - 5000)
    assert (membership.user_id, membership.email) == ("u-1", "ada@example.com")
    assert membership.fields == {"plan": "Gold"}
    assert profile.name == "Identify"


@pytest.mark.parametrize("context", [RequestContext("", "Lamp lovers", "left"), RequestContext("", "Others", "joined")])
def test_another_audience_or_turn_is_not_the_mapped_event(context: RequestContext) -> None:
    assert names(read(VISITOR, context, catalog=(*EVENTS, LOVERS))) == ["Ignored", "Identify"]


def test_one_profile_from_two_audiences_is_one_event_and_the_memberships_are_two() -> None:
    moved = EventType(name="Moved", sources={"tealium": From(when={"turn": ("joined", "left")})})
    catalog = (*EVENTS, moved)
    joining = read(VISITOR, JOINED, catalog=catalog)
    leaving = read(VISITOR, RequestContext("", "Lamp lovers", "left"), catalog=catalog)
    assert joining[0].message_id != leaving[0].message_id
    assert joining[1].message_id == leaving[1].message_id


def test_an_event_at_an_audiences_url_is_not_read_as_an_event() -> None:
    assert names(read({"tealium_event": "purchase", "order_id": "1", "customer_id": "u-1"}, JOINED)) == ["Ignored"]


def test_a_flat_body_at_an_audiences_url_is_a_profile() -> None:
    _, profile = read({"customer_id": "u-1", "email": "ada@example.com"}, JOINED)
    assert (profile.name, profile.user_id, profile.email) == ("Identify", "u-1", "ada@example.com")


def test_a_visitor_seen_long_ago_is_not_made_new_by_a_first_sync() -> None:
    old = {**VISITOR, "current_visit": {}, "dates": {"Last visit": AT - 90 * 86_400_000}}
    assert read(old)[0].occurred_at == AT - 90 * 86_400_000


def test_ids_that_were_stitched_together_are_linked_once_however_often_they_arrive() -> None:
    visitor = {**VISITOR, "replaces": ["v-0", "v-1", "v-0b"]}
    profile, *links = read(visitor)
    assert [(link.name, link.previous_id, link.user_id) for link in links] == [
        ("Alias", "v-0", "u-1"),
        ("Alias", "v-0b", "u-1"),
    ]
    later = {**visitor, "current_visit": {"dates": {"last_event_ts": AT + 9}}}
    assert [link.message_id for link in read(later)[1:]] == [link.message_id for link in links]
    assert read(later)[0].message_id != profile.message_id


def test_a_browser_cannot_link_visitors() -> None:
    assert names(from_page(read({**VISITOR, "replaces": ["v-0"]}, trust="browser"))) == ["Identify", "Refused"]


def test_hundreds_of_stitched_ids_are_cut_and_refuse_nothing() -> None:
    visitor = {**VISITOR, "replaces": [f"v-{n}" for n in range(100, 400)]}
    assert len(read(visitor)) == 51
    assert len(read([visitor, visitor], max_elements=2)) == 6


# ---- whatever else may come


@FUZZ
@given(udo=JSON, dom=JSON, ids=JSON, cart=JSON)
def test_no_event_of_any_shape_fails_our_code(udo: Any, dom: Any, ids: Any, cart: Any) -> None:
    payloads = [
        {**EVENT_STREAM, "data": {"udo": udo, "dom": dom, "firstparty_tealium_cookies": dom}},
        {**ADDED, "product_id": ids, "product_price": cart, "cart_product_id": cart, "cart_total_items": udo},
        {**ADDED, "dom": dom, "dom.url": udo, "cp.TAPID": ids, "cp": cart, "a......b": 1},
        {"shared": dom, "events": udo},
        {"_id": ids, "properties": {"visitor_id": dom, "Customer ID": ids}, "replaces": cart, "current_visit": udo},
        {"_id": 1, "properties": udo, "current_visit": {"dates": dom, "last_event": ids}, "secondary_ids": cart},
    ]
    for context in (NO_CONTEXT, JOINED):
        for verdict in read(payloads, context):
            assert isinstance(verdict, Event | Ignored | Refused)
            assert not isinstance(verdict, Refused) or verdict.reason in REFUSED_ELEMENTS[:-1]


def test_a_path_without_a_field_stops_the_start() -> None:
    odd = EventType(name="Odd", sources={"tealium": From(when={"tealium_event": "odd"}, paths={"plan": "plan"})})
    with pytest.raises(CatalogError, match="Odd"):
        source(catalog=(odd,))


def test_every_payload_is_read_alike_as_a_form() -> None:
    for path in sorted(PAYLOADS.glob("*[a-z].json")):
        if not path.name.endswith(".expected.json"):
            body = path.read_bytes()
            text = json.dumps(json.loads(body))
            assert read(urlencode({"data": text}).encode(), RequestContext(FORM)) == read(body), path.name
