"""What events sent with a browser key, which is public, may change: never another person's record or mail."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from adapter.ingest.receive import WebhookRequest
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


def record_from_page(world: World, *events: Event) -> None:
    world.record(*events, trusted=False)


def mails_after_an_hour(world: World) -> list[tuple[str, str]]:
    """Each mail, once all that was waiting is due."""
    world.run(world.now + HOUR)
    return world.mails()


def product_added(world: World, **who: Any) -> Event:
    return world.event("Product Added", product=product("a"), **who)


def person_id(user: str) -> str:
    return keys.person_id("main", user, None)


def test_a_visitor_gets_the_mail_about_the_cart_that_a_page_told_where_any_address_is_believed(
    redis: Redis,
) -> None:
    world = World(redis, page_addresses=True)
    record_from_page(world, world.event("Identify", anon="x", email=EVE), product_added(world, anon="x"))
    assert mails_after_an_hour(world) == [CART]


def test_a_page_confirms_no_order_and_takes_no_orders_id(world: World) -> None:
    order: dict[str, Any] = {"order_id": "1", "order_email": EVE, "products": (product("a"),)}
    record_from_page(world, world.event("Order Completed", anon="x", email=EVE, **order))
    world.run()
    assert world.mails() == []
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1"))
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_purchase_that_a_page_tells_stops_the_mail_about_its_cart(world: World) -> None:
    record_from_page(world, world.event("Identify", anon="x", email=EVE), product_added(world, anon="x"))
    world.now += 1000
    record_from_page(world, world.event("Order Completed", anon="x", order_id="1"))
    assert mails_after_an_hour(world) == []


def test_a_page_never_changes_the_address_that_a_server_gave(world: World) -> None:
    # The user is new, so the device becomes theirs. Then the server sends their address, with an older time.
    record_from_page(world, world.event("Identify", anon="x", user="ada", email=EVE))
    world.record(world.event("Identify", user="ada", email=ADA, at=world.now - HOUR))
    world.now += 1000
    record_from_page(world, world.event("Identify", anon="x", user="ada", email=EVE))
    world.record(world.event("Order Completed", user="ada", order_id="1"))
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_device_that_claims_a_known_user_reaches_nothing_of_theirs_and_gets_no_mail(world: World) -> None:
    world.record(world.event("Identify", user="ada", email=ADA))
    before = world.state("ada")
    record_from_page(world, product_added(world, anon="x", user="ada", email=EVE))
    assert world.state("ada") == before
    # Not even to the address that it gave itself: if the device is Ada's, a purchase is recorded for Ada alone.
    assert mails_after_an_hour(world) == []
    assert world.outcomes(anon="x") == [("abandoned_cart", "cancelled")]
    (decision,) = world.decisions(anon="x")
    assert decision["reason"] == "unproven_identity"


def test_what_waited_before_the_claim_is_withheld_too(world: World) -> None:
    world.record(world.event("Identify", user="ada", email=ADA))
    record_from_page(world, world.event("Identify", anon="x", email=EVE), product_added(world, anon="x"))
    world.now += 1000
    record_from_page(world, world.event("Page", anon="x", user="ada"))
    assert mails_after_an_hour(world) == []


def test_once_the_server_confirms_the_device_is_theirs(world: World) -> None:
    world.record(world.event("Identify", user="ada", email=ADA))
    record_from_page(world, product_added(world, anon="x", user="ada"))
    world.now += 1000
    world.record(world.event("Page", user="ada", anon="x"))
    assert mails_after_an_hour(world) == [("abandoned_cart", ADA)]
    world.now += 1000
    record_from_page(world, world.event("Product Viewed", anon="x", user="ada", product=product("b")))
    assert "m:view" in world.state("ada")


def test_a_second_user_of_a_device_touches_neither(world: World) -> None:
    record_from_page(world, world.event("Identify", anon="x", user="ada"), product_added(world, anon="x", user="ada"))
    before = world.state("ada")
    world.now += 1000
    reply = world.record(product_added(world, anon="x", user="eve"), trusted=False)
    assert reply.ignored == 1
    assert world.state("ada") == before
    assert world.state("eve") == {}


def test_a_redelivered_claim_stays_what_it_was(redis: Redis) -> None:
    world = World(redis, page_addresses=True)
    event = product_added(world, anon="x", user="ada", email=EVE)
    record_from_page(world, event)
    record_from_page(world, event)
    assert not world.client.hexists(keys.person("main", keys.person_id("main", None, "x")), "unproven")
    assert mails_after_an_hour(world) == [CART]


class Page:
    """A source with a browser key that reads one event from any body."""

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
    event = product_added(world, **who) if name == "Product Added" else world.event(name, **who)
    reply = world.receiver.receive(Page(event), WebhookRequest(b"", {}, world.now))
    assert (reply.accepted, reply.refused) == (1 - refused, refused)
    assert [refusal["reason"] for refusal in reply.refusals] == ["not_trusted"] * refused


def test_what_a_page_claimed_of_a_user_ends_when_a_server_knows_the_user(world: World) -> None:
    record_from_page(world, world.event("Identify", anon="y", user="ada", email=EVE), product_added(world, anon="y"))
    # Whoever sat there made up somebody else's id. The server says who Ada is, and which device is hers.
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    world.record(product_added(world, user="ada", anon="x"))
    assert mails_after_an_hour(world) == [("abandoned_cart", ADA)]
    assert world.record_ids(user="ada") == [person_id("ada"), keys.person_id("main", None, "x")]


def test_a_device_that_was_claimed_and_then_confirmed_is_the_users(world: World) -> None:
    record_from_page(world, world.event("Identify", anon="y", user="ada"), product_added(world, anon="y"))
    world.record(world.event("Identify", user="ada", anon="y", email=ADA))
    assert mails_after_an_hour(world) == [("abandoned_cart", ADA)]


def test_nothing_that_a_page_said_stands_in_a_transactional_mail(world: World) -> None:
    # Whoever reads the page's key names Ada's device and says who sits there.
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    record_from_page(world, world.event("Identify", anon="x", email=EVE, first_name="Win a prize: evil.example.com"))
    world.record(world.event("Order Completed", user="ada", order_id="1"))
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]
    assert world.esp.mails[0].template_data["first_name"] == ""


def test_an_address_that_only_a_page_gave_gets_no_confirmation_of_a_server_order(world: World) -> None:
    record_from_page(world, world.event("Identify", anon="x", email=EVE))
    world.record(world.event("Order Completed", user="ada", anon="x", order_id="1"))
    world.run()
    assert world.mails() == []
    assert world.outcomes("ada") == [("order_confirmation", "parked")]
    world.record(world.event("Identify", user="ada", email=ADA))
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]
