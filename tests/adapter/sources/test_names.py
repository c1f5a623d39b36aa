"""Names as senders spell them: of events, of traits and of properties, in any case and with any separators."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from adapter.sources import SOURCES
from adapter.sources.reading import fields
from catalog.events import EVENTS
from freshgate.declare import EventType, From
from freshgate.events import Event, Ignored
from freshgate.settings import SourceSettings

RECEIVED_AT = 1_790_000_040_000


def read(kind: str, element: Any, events: tuple[EventType, ...] = EVENTS) -> Any:
    settings = SourceSettings(kind=kind, secrets=("s",), write_keys=("k",))
    body = {"batch": [element]} if kind == "tracking" else element
    return SOURCES[kind].configure("shop", settings, events).read(json.dumps(body).encode(), RECEIVED_AT)[0]


def track(event: str, **members: Any) -> dict[str, Any]:
    return {"type": "track", "event": event, "userId": "u-1", "messageId": "m-1", **members}


def custom_event(name: str) -> dict[str, Any]:
    return {"mpid": "1", "events": [{"event_type": "custom_event", "data": {"event_id": 1, "event_name": name}}]}


SPELLINGS = [
    *("order_completed", "order completed", "OrderCompleted", "orderCompleted", "ORDER COMPLETED", "order-completed"),
    *("Order Completed ", " Order  Completed", "order.completed", "Completed_Order", "completedOrder"),
]


@pytest.mark.parametrize("kind", ["segment", "rudderstack", "hightouch", "customerio", "tracking"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_events_name_may_differ_in_case_and_separators(kind: str, spelling: str) -> None:
    assert read(kind, track(spelling)).name == "Order Completed"


@pytest.mark.parametrize("spelling", ["signed_up", "SignedUp", "SIGNED UP", "Signed Up "])
def test_so_may_the_names_of_mparticles_and_tealiums_events(spelling: str) -> None:
    assert read("mparticle", custom_event(spelling)).name == "Signed Up"
    assert read("tealium", {"tealium_event": "User Register", "customer_id": "1"}).name == "Signed Up"


@pytest.mark.parametrize(
    "name", ["Order Complete", "Orders Completed", "Order Completed 2", "Reorder Completed", "ordercomplétéd"]
)
def test_another_name_stays_another_event(name: str) -> None:
    assert read("segment", track(name)) == Ignored(f"track / {name}")


def test_an_exact_name_wins_and_an_ambiguous_one_is_nobodys() -> None:
    events = tuple(
        EventType(name=name, sources={kind: From(when={path: name, **call})})
        for name in ("Plan Chosen", "plan_chosen")
        for kind, path, call in [("segment", "event", {"type": "track"})]
    )
    assert read("segment", track("plan_chosen"), events).name == "plan_chosen"
    assert read("segment", track("Plan Chosen"), events).name == "Plan Chosen"
    assert read("segment", track("planChosen"), events) == Ignored("track / planChosen")
    events = tuple(
        EventType(name=name, sources={"mparticle": From(when={"event_type": "custom_event", "data.event_name": name})})
        for name in ("Plan Chosen", "plan_chosen")
    )
    assert read("mparticle", custom_event("plan_chosen"), events).name == "plan_chosen"
    assert isinstance(read("mparticle", custom_event("planChosen"), events), Ignored)


@pytest.mark.parametrize(
    ("email", "first_name"),
    [
        ("EMAIL", "FIRST_NAME"),
        ("Email", "FirstName"),
        ("e-mail", "firstname"),
        ("$email", "First Name"),
        ("eMail", "first-name"),
    ],
)
def test_the_keys_of_traits_may_differ_in_case_and_separators(email: str, first_name: str) -> None:
    traits = {email: "ada@example.com", first_name: "Ada"}
    for element in (
        {"type": "identify", "userId": "u-1", "traits": traits},
        {"type": "identify", "userId": "u-1", "context": {"traits": traits}},
    ):
        event = read("segment", element)
        assert (event.email, event.fields["first_name"]) == ("ada@example.com", "Ada")
    event = read("mparticle", {"mpid": "1", "user_attributes": traits, "events": []})
    assert (event.email, event.fields["first_name"]) == ("ada@example.com", "Ada")


def test_the_keys_of_properties_may_differ_and_the_declared_spelling_wins() -> None:
    event = read("segment", track("Order Completed", properties={"OrderID": "o-2", "CURRENCY": "EUR"}))
    assert event.fields == {"order_id": "o-2", "currency": "EUR"}
    event = read("segment", track("Order Completed", properties={"Order ID": "o-2", "order_id": "o-1"}))
    assert event.fields == {"order_id": "o-1"}


def test_what_is_compiled_for_shapes_of_elements_is_bounded() -> None:
    source = SOURCES["segment"].configure("shop", SourceSettings(kind="segment", secrets=("s",)), EVENTS)
    for number in range(2 * fields.MAX_SHAPES):
        properties = {f"key {number}": 1, "order_id": f"o-{number}"}
        (event,) = source.read(json.dumps(track("Order Completed", properties=properties)).encode(), RECEIVED_AT)
        assert isinstance(event, Event) and event.fields == {"order_id": f"o-{number}"}
    wide = {f"key {number}": 1 for number in range(2 * fields.MAX_SHAPE_KEYS)} | {"ORDER ID": "o-1"}
    (event,) = source.read(json.dumps(track("Order Completed", properties=wide)).encode(), RECEIVED_AT)
    assert isinstance(event, Event) and event.fields == {"order_id": "o-1"}
    for spelling in source._tracks.values():  # type: ignore[attr-defined]
        assert len(spelling.shapes) <= fields.MAX_SHAPES
        assert all(len(shape) <= fields.MAX_SHAPE_KEYS for shape in spelling.shapes)


LONG_NAMES: dict[str, Callable[[str], Any]] = {
    "an event": track,
    "a property": lambda name: track("Product Added", properties={"product_id": "p", name: 1}),
    "a line's member": lambda name: track("Cart Viewed", properties={"products": [{"product_id": "p", name: 1}]}),
    "a trait": lambda name: {"type": "identify", "userId": "u-1", "traits": {"email": "ada@example.com", name: 1}},
    "a context's member": lambda name: track("Product Added", context={"traits": {name: 1}}, properties={"sku": "p"}),
    "a call": lambda name: {"type": name, "userId": "u-1"},
    "an event of mParticle": custom_event,
    "an event of Tealium": lambda name: {"tealium_event": name, "customer_id": "1"},
}


@pytest.mark.parametrize("name", LONG_NAMES)
def test_no_cache_keeps_what_a_caller_sends_under_the_name_of_something(name: str) -> None:
    kind = name.rpartition(" ")[2].lower() if name.endswith(("mParticle", "Tealium")) else "segment"
    source = SOURCES[kind].configure("shop", SourceSettings(kind=kind, secrets=("s",)), EVENTS)

    def read_some(first: int) -> None:
        for number in range(first, first + 10):
            source.read(json.dumps(LONG_NAMES[name](f"{number}" + "x" * 100_000)).encode(), RECEIVED_AT)

    read_some(0)
    tracemalloc.start()
    try:
        read_some(10)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 500_000


@pytest.mark.parametrize("call", ["Track", "TRACK", "track "])
def test_the_kind_of_a_call_may_differ_in_case(call: str) -> None:
    assert read("segment", {**track("Order Completed"), "type": call}).name == "Order Completed"
    assert read("segment", {"type": "Identify", "userId": "u-1"}).name == "Identify"


@pytest.mark.parametrize(
    "element",
    [
        # Columns of a warehouse; a serializer of C#; Python.
        {"TYPE": "track", "EVENT": "Order Completed", "USER_ID": "u-1", "PROPERTIES": {"order_id": "o-1"}},
        {"Type": "track", "Event": "Order Completed", "UserId": "u-1", "Properties": {"order_id": "o-1"}},
        {"type": "track", "event": "Order Completed", "UserID": "u-1", "properties": {"order_id": "o-1"}},
    ],
    ids=repr,
)
def test_an_elements_own_members_may_differ_in_case_and_separators(element: dict[str, Any]) -> None:
    for kind in ("segment", "hightouch", "rudderstack"):
        event = read(kind, element)
        assert (event.name, event.user_id, event.fields) == ("Order Completed", "u-1", {"order_id": "o-1"})


def test_a_declared_member_wins_over_another_spelling() -> None:
    event = read("segment", {**track("Order Completed"), "USER_ID": "u-2", "Type": "identify"})
    assert (event.name, event.user_id) == ("Order Completed", "u-1")


@pytest.mark.parametrize(
    ("name", "event"),
    [
        *((name, "Unsubscribed") for name in ("Customer Unsubscribed", "emailUnSubscribe", "Email Opted Out")),
        ("users.messages.email.Unsubscribe", "Unsubscribed"),
        *((name, "Email Marked as Spam") for name in ("emailComplaint", "Spam Complaint", "Marked Email as Spam")),
        *((name, "Email Bounced") for name in ("emailBounce", "Hard Bounce", "users.messages.email.Bounce")),
        *((name, "Email Soft Bounced") for name in ("Soft Bounce", "users.messages.email.SoftBounce")),
        ("Customer Subscribed", "Subscribed"),
    ],
)
def test_reports_of_esps_are_read_whatever_they_are_called(name: str, event: str) -> None:
    assert read("rudderstack", track(name)).name == event
    assert read("segment", track(name)).name == event


def test_a_visitor_who_bounces_off_a_page_is_no_bounced_mail() -> None:
    assert isinstance(read("segment", track("Bounce")), Ignored)


@pytest.mark.parametrize("member", ["email_address", "emailAddress", "EMAIL_ADDRESS", "Email Address"])
def test_an_address_may_be_called_so_too(member: str) -> None:
    identify = {"type": "identify", "userId": "u-1", "traits": {member: "ada@example.com"}}
    assert read("segment", identify).email == "ada@example.com"
    both = {"type": "identify", "userId": "u-1", "traits": {member: "old@example.com", "email": "ada@example.com"}}
    assert read("segment", both).email == "ada@example.com"
    in_context = {**track("Product Viewed"), "context": {"traits": {member: "ada@example.com"}}}
    assert read("segment", in_context).email == "ada@example.com"


def test_open_id_connects_names_of_a_person_are_read_after_segments_own() -> None:
    traits = {"given_name": "Ada", "family_name": "Lovelace"}
    identify = {"type": "identify", "userId": "u-1", "traits": traits}
    assert read("segment", identify).fields == {"first_name": "Ada", "last_name": "Lovelace"}
    traits["first_name"] = "Augusta"
    assert read("segment", identify).fields["first_name"] == "Augusta"


@pytest.mark.parametrize("member", ["items", "line_items", "lineItems", "LINE_ITEMS"])
def test_products_are_read_under_their_other_names(member: str) -> None:
    lines = [{"product_id": "mug", "quantity": 1}]
    for name in ("Order Completed", "Cart Viewed", "Checkout Started"):
        event = read("segment", track(name, properties={member: lines}))
        assert [product.product_id for product in event.fields["products"]] == ["mug"]
        both = read("segment", track(name, properties={member: lines, "products": []}))
        assert both.fields["products"] == ()


@pytest.mark.parametrize("count", [3, "3", True])
def test_a_number_of_items_says_nothing_of_the_products(count: Any) -> None:
    event = read("segment", track("Cart Viewed", properties={"items": count}))
    assert "products" not in event.fields and not event.unreadable
    # What is called products, however it is spelled, should be some.
    event = read("segment", track("Cart Viewed", properties={"PRODUCTS": count}))
    assert event.unreadable == ("products",)


def test_a_payments_id_stands_for_the_order_where_nothing_else_does() -> None:
    for name in ("Order Completed", "Order Refunded", "Order Cancelled"):
        assert read("segment", track(name, properties={"transaction_id": "t-1"})).fields["order_id"] == "t-1"
        both = {"transaction_id": "t-1", "order_id": "o-1"}
        assert read("segment", track(name, properties=both)).fields["order_id"] == "o-1"


def test_the_checkout_of_rudderstacks_pixel_app_is_one() -> None:
    assert read("rudderstack", track("Checkout Started Webhook")).name == "Checkout Started"
    assert isinstance(read("segment", track("Checkout Started Webhook")), Ignored)


@pytest.mark.parametrize("value", [True, "true", 1, "1"])
@pytest.mark.parametrize("member", ["unsubscribed", "email_opt_out", "emailOptOut", "HasOptedOutOfEmail"])
def test_a_trait_may_say_that_a_person_opted_out(member: str, value: Any) -> None:
    identify = {"type": "identify", "userId": "u-1", "traits": {member: value}}
    assert read("segment", identify).fields == {"unsubscribed": True}
    assert read("segment", {**identify, "traits": {member: False}}).fields == {"unsubscribed": False}


@pytest.mark.parametrize("member", ["accepts_marketing", "subscribed", "email_opt_in", "marketing_consent"])
def test_a_trait_that_may_mean_that_nobody_asked_says_nothing(member: str) -> None:
    assert not read("segment", {"type": "identify", "userId": "u-1", "traits": {member: False}}).fields


def test_an_attribute_of_mparticle_may_say_so_too() -> None:
    batch = {"mpid": "1", "user_attributes": {"unsubscribed": "true"}, "events": []}
    assert read("mparticle", batch).fields == {"unsubscribed": True}


@pytest.mark.parametrize("action", ["Purchase", "PURCHASE", "purchase"])
@pytest.mark.parametrize("event_type", ["CommerceEvent", "commerceEvent", "COMMERCE_EVENT", "commerce_event"])
def test_mparticles_own_names_may_differ_in_case(event_type: str, action: str) -> None:
    data = {"event_id": 1, "product_action": {"action": action, "transaction_id": "o-1", "products": [{"id": "p"}]}}
    for identities in (
        [{"identity_type": "Email", "identity": "ada@example.com"}, {"identity_type": "CustomerId", "identity": "u-1"}],
        {"Email": "ada@example.com", "customerId": "u-1", "customer_id": None},
    ):
        event = read("mparticle", {"user_identities": identities, "events": [{"event_type": event_type, "data": data}]})
        assert (event.name, event.user_id, event.email) == ("Order Completed", "u-1", "ada@example.com")
        assert event.fields["order_id"] == "o-1"
    added = {"event_type": event_type, "data": {"product_action": {"action": "AddToCart", "products": [{"id": "p"}]}}}
    assert read("mparticle", {"mpid": "1", "events": [added]}).name == "Product Added"


def test_a_list_of_one_is_its_value() -> None:
    layer = {"tealium_event": "purchase", "customer_id": ["u-1"], "order_id": ["o-1"], "order_total": ["12.50"]}
    event = read("tealium", layer)
    assert (event.user_id, event.fields["order_id"], str(event.fields["total"])) == ("u-1", "o-1", "12.50")
    several = read("tealium", {**layer, "order_total": ["12.50", "7"]})
    assert several.unreadable == ("total",)
    assert read("segment", track("Order Completed", properties={"order_id": ["o-1"]})).fields == {"order_id": "o-1"}


@pytest.mark.parametrize("kind", ["hightouch", "segment", "rudderstack", "tracking"])
def test_a_flat_row_is_read_where_it_has_no_properties(kind: str) -> None:
    row = {"type": "track", "event": "Order Completed", "userId": "u-1", "id": 7, "version": 2, "rudderId": "r"}
    event = read(kind, {**row, "ORDER_ID": "o-1", "total": 10, "email": "ada@example.com"})
    assert {name: str(value) for name, value in event.fields.items()} == {
        "order_id": "o-1",
        "total": "10",
        "order_email": "ada@example.com",
    }
    assert read(kind, row).fields == {}
    assert read(kind, {**row, "order_id": "o-1", "properties": {}}).fields == {}
    identify = {"type": "identify", "userId": "u-1", "email": "ada@example.com", "first_name": "Ada"}
    event = read(kind, identify)
    assert (event.email, event.fields["first_name"]) == ("ada@example.com", "Ada")
    with_traits = {**identify, "context": {"traits": {"email": "own@example.com"}}}
    assert (read(kind, with_traits).email, read(kind, with_traits).fields.get("first_name")) == (
        "own@example.com",
        None,
    )
