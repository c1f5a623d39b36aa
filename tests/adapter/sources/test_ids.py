"""Ids as they arrive, in every kind of source: of nobody, with blanks, as floats, as addresses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adapter.sources import SOURCES
from catalog.events import EVENTS
from freshgate.events import Event, Refused
from freshgate.settings import SourceSettings

RECEIVED_AT = 1_790_000_040_000


def read(kind: str, element: Any) -> Any:
    settings = SourceSettings(kind=kind, secrets=("s",), write_keys=("k",))
    body = {"batch": [element]} if kind == "tracking" else element
    return SOURCES[kind].configure("shop", settings, EVENTS).read(json.dumps(body).encode(), RECEIVED_AT)[0]


def ordered(kind: str, user_id: Any, anonymous_id: Any = None, order_id: Any = "o-1") -> Any:
    """A purchase as that kind sends it, read."""
    if kind == "mparticle":
        action = {"action": "purchase", "transaction_id": order_id}
        return read(
            kind,
            {
                "mpid": anonymous_id,
                "user_identities": {"customer_id": user_id},
                "events": [{"event_type": "commerce_event", "data": {"event_id": 1, "product_action": action}}],
            },
        )
    if kind == "tealium":
        layer = {"tealium_event": "purchase", "customer_id": user_id, "order_id": order_id}
        return read(kind, {**layer, "tealium_visitor_id": anonymous_id})
    track = {"type": "track", "event": "Order Completed", "messageId": "m-1", "properties": {"order_id": order_id}}
    return read(kind, {**track, "userId": user_id, "anonymousId": anonymous_id})


KINDS = ("segment", "rudderstack", "tracking", "mparticle", "tealium")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "nobody", ["[object Object]", "{{user.id}}", "(not set)", "<nil>", "-1", "Unknown", "0", 0, 0.0]
)
def test_an_id_of_nobody_is_no_person_and_no_order(kind: str, nobody: Any) -> None:
    assert ordered(kind, nobody) == Refused("no_identity")
    event = ordered(kind, nobody, "a-1")
    assert isinstance(event, Event) and (event.user_id, event.anonymous_id) == (None, "a-1")
    event = ordered(kind, "u-1", nobody, nobody)
    assert (event.user_id, event.anonymous_id) == ("u-1", None)
    assert "order_id" not in event.fields and event.unreadable == ("order_id",)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spelling", [4711, 4711.0, "4711", " 4711 ", "4711.0", "\u200b4711\ufeff", "4711\u00a0"])
def test_a_number_is_the_same_id_with_blanks_and_as_a_float(kind: str, spelling: Any) -> None:
    event = ordered(kind, spelling, spelling, spelling)
    assert (event.user_id, event.anonymous_id, event.fields["order_id"]) == ("4711", "4711", "4711")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [1.5, 2.0**53, 1e300])
def test_a_float_that_is_not_one_whole_number_is_no_id(kind: str, number: float) -> None:
    # Beyond 2^53 the next person's number is the same float.
    assert ordered(kind, number) == Refused("no_identity")


@pytest.mark.parametrize("kind", KINDS)
def test_an_address_as_an_id_is_the_same_in_any_case(kind: str) -> None:
    assert ordered(kind, " Ada@Example.COM").user_id == "ada@example.com"
    # An id that holds an @ keeps its case: two accounts may differ in it.
    assert ordered(kind, "auth0|Ada@x").user_id == "auth0|Ada@x"


@pytest.mark.parametrize("spelling", [{"order_id": "undefined", "orderId": "o-1"}, {"orderId": None, "id": "o-1"}])
def test_the_next_name_of_an_order_id_counts_where_the_first_names_none(spelling: dict[str, Any]) -> None:
    track = {"type": "track", "event": "Order Completed", "userId": "u-1", "messageId": "m-1", "properties": spelling}
    event = read("segment", track)
    assert event.fields["order_id"] == "o-1" and event.unreadable == ()


def test_a_message_id_that_all_messages_share_is_none() -> None:
    page = {"type": "page", "userId": "u-1", "messageId": "{{messageId}}"}
    assert read("segment", page).message_id.startswith("h-")
    assert read("segment", {**page, "messageId": 17}).message_id == "17"


@pytest.mark.parametrize("kind", ["segment", "rudderstack", "tracking"])
def test_an_order_with_an_address_alone_is_read(kind: str) -> None:
    properties = {"order_id": "1001", "email": "ada@example.com"}
    track = {"type": "track", "event": "Order Completed", "messageId": "m-1", "properties": properties}
    event = read(kind, track)
    assert isinstance(event, Event)
    assert (event.user_id, event.anonymous_id, event.email) == (None, None, "ada@example.com")
    # What is no order needs somebody's id: an address typed into a page's form is not a person.
    assert read(kind, track | {"event": "Product Viewed"}) == Refused("no_identity")


@pytest.mark.parametrize("kind", KINDS)
def test_shopifys_ids_are_their_numbers(kind: str) -> None:
    event = ordered(kind, "gid://shopify/Customer/4711", None, "gid://shopify/OrderIdentity/577?key=1")
    assert (event.user_id, event.fields["order_id"]) == ("4711", "577")
    other = ordered(kind, "gid://example/Customer/4711")
    assert other.user_id == "gid://example/Customer/4711"


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_shopper_did_is_nobodys(kind: str) -> None:
    assert ordered(kind, "shopify-admin", "a-1").user_id is None


def test_an_erasure_that_names_an_address_only_is_read() -> None:
    delete = {"type": "delete", "messageId": "m-1", "context": {"traits": {"email": "ada@example.com"}}}
    event = read("segment", delete)
    assert (event.name, event.user_id, event.email) == ("Delete", None, "ada@example.com")
    assert read("segment", {"type": "delete", "messageId": "m-1"}) == Refused("no_identity")
