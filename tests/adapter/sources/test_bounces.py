"""Which bounces suppress an address, and what takes an unsubscribe back; as far as reading and planning decide it."""

from __future__ import annotations

import json
from typing import Any

import pytest

import catalog
from adapter.ingest.receive import check_trust
from adapter.sources import SOURCES
from catalog import EVENTS, TRIGGERS
from freshgate.catalogs import load_event_types
from freshgate.errors import CatalogError
from freshgate.events import Event, Refused
from freshgate.settings import Settings, SourceSettings
from freshgate.state.planner import Planner

RECEIVED_AT = 1_790_000_040_000
TYPES = {event.name: event for event in EVENTS}


def track(event: str, properties: dict[str, Any], **members: Any) -> Event:
    element = {
        "type": "track",
        "event": event,
        "userId": "u-1",
        "messageId": "m-1",
        "properties": properties,
        **members,
    }
    source = SOURCES["segment"].configure("shop", SourceSettings(kind="segment", secrets=("s",)), EVENTS)
    (verdict,) = source.read(json.dumps(element).encode(), RECEIVED_AT)
    assert isinstance(verdict, Event)
    return verdict


@pytest.mark.parametrize(
    "properties",
    [
        {"bounce_type": "soft"},
        {"bounceType": "Transient"},
        {"bounce": {"bounceType": "Transient"}},
        {"bounceType": "Undetermined"},
        {"recipientState": "SoftBounce"},
        {"EventType": "SoftBounce"},
        {"severity": "temporary"},
        {"type": "blocked"},
        {"Bounce Type": "Soft Bounce"},
        {"status": "4.2.2"},
        {"reason": "452 4.2.2 The mailbox is over quota"},
        {"failure_message": "smtp;421 try again later"},
        {"code": 450},
        {"classification": "Soft"},
        {"bounceClassification": "Block"},
        {"status": "bounced", "smtp_status": "4.2.2"},
        {"status": "bounced", "diagnosticCode": "smtp; 452 4.2.2 over quota"},
    ],
)
def test_a_bounce_that_says_that_it_is_soft_suppresses_nothing(properties: dict[str, Any]) -> None:
    event = track("Email Bounced", properties, context={"traits": {"email": "ada@example.com"}})
    assert event.name == "Email Soft Bounced"
    # The address that bounced may be an old one, so it does not become the person's own, either.
    assert event.email is None
    plan = Planner(EVENTS, TRIGGERS, b"k").plan(event)
    assert "m:bounced" not in [field for field, *_ in plan.body["regs"]]
    assert "sup" not in plan.body


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"bounce_type": "hard"},
        {"bounceType": "Permanent", "status": "4.2.2"},
        {"recipientState": "HardBounce"},
        {"status": "5.1.1"},
        {"reason": "550 5.1.1 no such user"},
        {"reason": "451 4.0.0 then 550 5.1.1 no such user"},
        {"reason": "order 4711 could not be delivered"},
        {"type": "email"},
    ],
)
def test_any_other_bounce_suppresses_the_address(properties: dict[str, Any]) -> None:
    event = track("Email Bounced", properties, context={"traits": {"email": "ada@example.com"}})
    assert (event.name, event.email) == ("Email Bounced", "ada@example.com")


@pytest.mark.parametrize(
    ("says", "name"),
    [
        ({"bounce_classification": "Soft"}, "Email Soft Bounced"),
        ({"smtp_code": "450"}, "Email Soft Bounced"),
        ({"diagnostic_code": "smtp; 452 4.2.2 over quota"}, "Email Soft Bounced"),
        ({"smtp_code": "550"}, "Email Bounced"),
    ],
)
@pytest.mark.parametrize("kind", ["mparticle", "tealium"])
def test_other_cdps_say_it_in_the_same_words(kind: str, says: dict[str, str], name: str) -> None:
    custom_event = {"event_type": "custom_event", "data": {"event_name": "Email Bounced", "custom_attributes": says}}
    bodies: dict[str, dict[str, Any]] = {
        "mparticle": {"user_identities": {"email": "ada@example.com"}, "mpid": "7", "events": [custom_event]},
        "tealium": {"tealium_event": "email_bounced", "customer_email": "ada@example.com", **says},
    }
    source = SOURCES[kind].configure("shop", SourceSettings(kind=kind, secrets=("s",)), EVENTS)
    (verdict,) = source.read(json.dumps(bodies[kind]).encode(), RECEIVED_AT)
    assert isinstance(verdict, Event)
    assert verdict.name == name


def test_the_name_says_it_too() -> None:
    assert track("Email Soft Bounced", {}).name == "Email Soft Bounced"
    assert track("Email Hard Bounced", {"reason": "4.2.2"}).name == "Email Bounced"
    assert track("email_soft_bounced", {"bounce_type": "hard"}).name == "Email Bounced"


def test_a_soft_bounce_of_an_address_alone_is_recorded() -> None:
    event = track("Email Bounced", {"email": "ada@example.com", "bounce_type": "soft"}, userId=None)
    assert (event.name, event.email) == ("Email Soft Bounced", "ada@example.com")


@pytest.mark.parametrize("name", ["Subscribed", "email_subscribed", "Resubscribed", "Subscribed to Newsletter"])
def test_an_opt_in_lifts_an_unsubscribe_and_nothing_else(name: str) -> None:
    event = track(name, {"list_id": "news"})
    assert event.name == "Subscribed"
    assert TYPES[event.name].lifts == "unsubscribed"
    assert [event_type.name for event_type in EVENTS if event_type.lifts] == ["Subscribed"]


@pytest.mark.parametrize(
    "properties", [{"plan": "Gold"}, {"price": "9.95"}, {"subscription_id": "s-1"}, {"plan_id": 7}]
)
def test_who_buys_a_plan_has_not_opted_in(properties: dict[str, Any]) -> None:
    event = track("Subscribed", properties)
    assert event.name == "Subscription Started"
    assert TYPES[event.name].lifts is None


def test_a_page_opts_nobody_in() -> None:
    event = track("Email Subscribed", {}, anonymousId="a-1")
    assert check_trust(event, TYPES[event.name], "browser") == Refused("not_trusted")
    assert check_trust(event, TYPES[event.name], "server") == event


def test_what_an_event_may_be_instead_must_be_in_the_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "EVENTS", tuple(event for event in EVENTS if event.name != "Email Soft Bounced"))
    with pytest.raises(CatalogError, match="Email Bounced: 'Email Soft Bounced' in `instead` is not in EVENTS"):
        load_event_types(Settings())
