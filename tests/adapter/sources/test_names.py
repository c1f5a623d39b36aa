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
