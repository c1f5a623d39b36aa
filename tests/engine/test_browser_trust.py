"""What a key that stands in every page may do, and above all what it may not: reach somebody else's record or mail."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from adapter.sources.base import NO_CONTEXT, Headers, RequestContext
from freshgate.events import Event
from freshgate.settings import SourceSettings
from freshgate.state import keys
from tests.engine.world import HOUR, World, product

ADA, EVE = "ada@example.com", "eve@example.com"
CART = ("abandoned_cart", EVE)


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def browser(world: World, *events: Event) -> None:
    world.record(*events, trusted=False)


def wait(world: World) -> list[tuple[str, str]]:
    """Every mail, once whatever was waiting is due."""
    world.run(world.now + HOUR)
    return world.mails()


def adds(world: World, **who: Any) -> Event:
    return world.event("Product Added", product=product("a"), **who)


def person(user: str) -> str:
    return keys.person_id("main", user, None)


def test_a_visitor_gets_the_mail_about_the_cart_that_a_page_told(world: World) -> None:
    browser(world, world.event("Identify", anon="x", email=EVE), adds(world, anon="x"))
    assert wait(world) == [CART]


def test_a_page_confirms_no_order_and_takes_no_orders_id(world: World) -> None:
    order: dict[str, Any] = {"order_id": "1", "order_email": EVE, "products": (product("a"),)}
    browser(world, world.event("Order Completed", anon="x", email=EVE, **order))
    world.run()
    assert world.mails() == []
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_purchase_that_a_page_tells_stops_the_mail_about_its_cart(world: World) -> None:
    browser(world, world.event("Identify", anon="x", email=EVE), adds(world, anon="x"))
    world.now += 1000
    browser(world, world.event("Order Completed", anon="x", order_id="1"))
    assert wait(world) == []


def test_a_page_never_changes_the_address_that_a_server_gave(world: World) -> None:
    # The user is new, so the device becomes theirs; then the server tells their address, with an older time.
    browser(world, world.event("Identify", anon="x", user="ada", email=EVE))
    world.record(world.event("Identify", user="ada", email=ADA, at=world.now - HOUR))
    world.now += 1000
    browser(world, world.event("Identify", anon="x", user="ada", email=EVE))
    world.record(world.event("Order Completed", user="ada", order_id="1"))
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_device_that_claims_a_known_user_reaches_nothing_of_theirs_and_gets_no_mail(world: World) -> None:
    world.record(world.event("Identify", user="ada", email=ADA))
    before = world.state("ada")
    browser(world, adds(world, anon="x", user="ada", email=EVE))
    assert world.state("ada") == before
    # Not even to the address that it gave itself: if it is Ada's device, a purchase would be told of Ada alone.
    assert wait(world) == []
    assert world.outcomes(anon="x") == [("abandoned_cart", "cancelled")]
    (told,) = world.decisions(anon="x")
    assert told["reason"] == "unproven_identity"


def test_what_waited_before_the_claim_is_withheld_too(world: World) -> None:
    world.record(world.event("Identify", user="ada", email=ADA))
    browser(world, world.event("Identify", anon="x", email=EVE), adds(world, anon="x"))
    world.now += 1000
    browser(world, world.event("Page", anon="x", user="ada"))
    assert wait(world) == []


def test_once_the_server_confirms_the_device_is_theirs(world: World) -> None:
    world.record(world.event("Identify", user="ada", email=ADA))
    browser(world, adds(world, anon="x", user="ada"))
    world.now += 1000
    world.record(world.event("Page", user="ada", anon="x"))
    assert wait(world) == [("abandoned_cart", ADA)]
    world.now += 1000
    browser(world, world.event("Product Viewed", anon="x", user="ada", product=product("b")))
    assert "m:view" in world.state("ada")


def test_a_second_user_of_a_device_touches_neither(world: World) -> None:
    browser(world, world.event("Identify", anon="x", user="ada"), adds(world, anon="x", user="ada"))
    before = world.state("ada")
    answer = world.record(adds(world, anon="x", user="eve"), trusted=False)
    assert answer.ignored == 1
    assert world.state("ada") == before
    assert world.state("eve") == {}


def test_a_redelivered_claim_stays_what_it_was(world: World) -> None:
    event = adds(world, anon="x", user="ada", email=EVE)
    browser(world, event)
    browser(world, event)
    assert not world.client.hexists(keys.person(person("ada")), "unproven")
    assert wait(world) == [CART]


class Page:
    """A source whose key is in a page; it reads one event."""

    name = "page"
    settings = SourceSettings(kind="page", trust="browser")

    def __init__(self, event: Event) -> None:
        self._event = event

    def verify(self, body: bytes, headers: Headers) -> None:
        pass

    def read(self, body: bytes, received_at: int, context: RequestContext = NO_CONTEXT) -> list[Event]:
        return [self._event]


@pytest.mark.parametrize(
    ("name", "who", "refused"),
    [
        ("Product Added", {"anon": "x"}, 0),
        ("Product Added", {"anon": "x", "user": "ada"}, 0),
        ("Product Added", {"user": "ada"}, 1),
        ("Unsubscribed", {"anon": "x", "email": ADA}, 1),
        ("Email Bounced", {"anon": "x", "email": ADA}, 1),
        ("Alias", {"anon": "x", "user": "ada"}, 1),
        ("Delete", {"anon": "x", "user": "ada"}, 1),
    ],
)
def test_a_page_speaks_for_its_own_device_only(world: World, name: str, who: dict[str, Any], refused: int) -> None:
    event = adds(world, **who) if name == "Product Added" else world.event(name, **who)
    answer = world.receiver.receive(Page(event), b"", {}, world.now)
    assert (answer.accepted, answer.refused) == (1 - refused, refused)
    assert [told["reason"] for told in answer.refusals] == ["not_trusted"] * refused


def test_a_mail_that_waits_for_an_address_finds_the_one_that_a_page_gave_the_user(world: World) -> None:
    browser(world, world.event("Identify", anon="y", user="eve", email=EVE))
    browser(world, adds(world, anon="x"))
    assert wait(world) == []
    # The server says whose the other device is; of an address it says nothing.
    world.record(world.event("Page", user="eve", anon="x"))
    assert wait(world) == [CART]
