"""The people in Tealium's payloads: ids, times, visitors and audiences.

`test_tealium.py` tests requests and bodies; what a visitor does to mails is `tests/engine/test_tealium_visitors.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from adapter.sources.base import RequestContext
from catalog.events import EVENTS
from freshgate.declare import EventType, From
from freshgate.events import Event, Ignored
from tests.adapter.sources.contract import RECEIVED_AT, from_page
from tests.adapter.sources.test_tealium import ADDED, AT, EVENT_STREAM, JOINED, VISITOR, names, read, source

LOVERS = EventType(
    name="Fell in Love",
    fields={"plan": "text"},
    sources={"tealium": From(when={"audience": "Lamp lovers", "turn": "joined"}, paths={"plan": "plan"})},
)


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


def test_the_sample_of_an_unmapped_event_is_the_element_that_paths_read() -> None:
    layer = {"dom": {"title": "Lamps"}, **ADDED}
    (unknown,) = read({"data": {"udo": {**layer, "tealium_event": "custom_click"}}, "event_id": "e-1"})
    element = unknown.element()
    assert element["tealium_event"] == "custom_click"
    assert element["dom"] == {"title": "Lamps", "url": "https://shop.example.com/"}
    assert element["product"] == {"product_id": "L-1"}
    assert "data" not in element


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
