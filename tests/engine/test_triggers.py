"""The built-in triggers, decision by decision, on a real Redis with a fake clock."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from freshgate.errors import EspError
from tests.engine.world import HOUR, MINUTE, SECOND, START, World, product

ADA = "ada@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def identify(world: World, user: str = "ada") -> None:
    world.record(world.event("Identify", user=user, email=ADA, first_name="Ada"))


def test_an_order_is_confirmed_once_however_often_it_is_told(world: World) -> None:
    identify(world)
    for _ in range(3):
        world.record(world.event("Order Completed", user="ada", order_id="1", products=(product("a"),)))
        world.run()
    assert world.mails() == [("order_confirmation", ADA)]
    assert world.outcomes("ada") == [("order_confirmation", "sent")] + [("order_confirmation", "duplicate")] * 2


def test_the_orders_own_address_is_used_and_does_not_become_the_persons(world: World) -> None:
    identify(world)
    world.record(world.event("Order Completed", user="ada", order_id="1", order_email="gift@example.com"))
    world.run()
    assert world.mails() == [("order_confirmation", "gift@example.com")]
    assert world.state("ada")["t:email"].endswith(ADA)


def test_a_purchase_with_the_same_address_stops_the_mail_whoever_made_it(redis: Redis) -> None:
    """Two ids that no event links: a device that gave its address, and a customer's number."""
    world = World(redis)
    addresses: dict[str, Any] = {"x": {"email": ADA}, "y": {"order_email": ADA}}
    for guest, address in addresses.items():
        world.record(world.event("Product Added", anon=guest, email=ADA, product=product("a")))
        world.record(world.event("Product Viewed", anon=guest, email=ADA, product=product("b")))
        world.now += MINUTE
        world.record(world.event("Order Completed", user="ada", order_id=guest, products=(product("a"),), **address))
        world.run(world.now + 2 * HOUR)
        assert set(world.outcomes(anon=guest)) == {("abandoned_cart", "cancelled"), ("browse_abandonment", "cancelled")}
    assert {trigger for trigger, _ in world.mails()} == {"order_confirmation"}


def test_without_the_setting_two_ids_are_two_people(redis: Redis) -> None:
    world = World(redis, email_identity=False)
    world.record(world.event("Product Added", anon="x", email=ADA, product=product("a")))
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1", at=world.now + 1))
    world.run(world.now + HOUR)
    assert ("abandoned_cart", ADA) in world.mails()


def test_a_new_cart_after_that_purchase_is_mailed(redis: Redis) -> None:
    world = World(redis)
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1", products=(product("a"),)))
    world.now += HOUR
    world.record(world.event("Product Added", anon="x", email=ADA, product=product("b")))
    world.run(world.now + HOUR)
    assert ("abandoned_cart", ADA) in world.mails()


def test_a_purchase_of_the_address_between_reading_and_the_call_is_seen(redis: Redis) -> None:
    world = World(redis)
    world.record(world.event("Product Added", anon="x", email=ADA, product=product("a")))
    order = world.event("Order Completed", user="ada", email=ADA, order_id="1", products=(product("a"),))
    claim = world.courier._ledger.claim

    def buy_first(*arguments: Any) -> list[bool]:
        world.courier._ledger.claim = claim  # type: ignore[method-assign]  # the first claim only
        world.record(order)
        return claim(*arguments)

    world.courier._ledger.claim = buy_first  # type: ignore[method-assign,assignment]  # the moment of the race
    world.run(world.now + HOUR)
    assert ("abandoned_cart", ADA) not in world.mails()


@pytest.mark.parametrize("name", ["Email Bounced", "Unsubscribed", "Email Marked as Spam"])
def test_an_address_that_takes_no_mail_does_not_become_the_persons(world: World, name: str) -> None:
    identify(world)
    world.now += 1
    world.record(world.event(name, user="ada", email="old@example.com"))
    world.record(world.event("Order Completed", user="ada", order_id="1"))
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]


def test_a_cancelled_order_is_not_confirmed(world: World) -> None:
    identify(world)
    world.record(world.event("Order Cancelled", user="eve", order_id="1", at=world.now + 1))
    world.record(world.event("Order Completed", user="ada", order_id="1"))
    world.run()
    assert world.mails() == []
    assert world.outcomes("ada") == [("order_confirmation", "superseded")]


@pytest.mark.parametrize(("refund", "mails"), [({}, 0), ({"total": "10"}, 0), ({"total": "4"}, 1)])
def test_only_a_full_refund_withdraws_the_confirmation(world: World, refund: dict[str, str], mails: int) -> None:
    identify(world)
    world.record(
        world.event("Order Refunded", user="ada", order_id="1", at=world.now + 1, **refund),
        world.event("Order Completed", user="ada", order_id="1", total="10"),
    )
    world.run()
    assert len(world.mails()) == mails


@pytest.mark.parametrize("first", ["4", "10"])
def test_a_partial_refund_does_not_hide_a_full_one(world: World, first: str) -> None:
    identify(world)
    world.record(
        world.event("Order Refunded", user="ada", order_id="1", at=world.now + 1, total=first),
        world.event("Order Refunded", user="ada", order_id="1", at=world.now + 2, total="14" if first == "4" else "4"),
        world.event("Order Completed", user="ada", order_id="1", total="10"),
    )
    world.run()
    assert world.outcomes("ada") == [("order_confirmation", "superseded")]


def test_an_old_order_is_stale(world: World) -> None:
    identify(world)
    world.record(world.event("Order Completed", user="ada", order_id="1", at=world.now - 25 * HOUR))
    world.run()
    assert world.outcomes("ada") == [("order_confirmation", "stale")]


def test_an_order_without_an_id_clears_the_cart_and_says_why_nothing_was_confirmed(world: World) -> None:
    identify(world)
    world.record(world.event("Product Added", user="ada", product=product("a")))
    world.record(world.event("Order Completed", user="ada", at=world.now + 1, products=(product("a"),)))
    world.run(world.now + HOUR)
    assert world.mails() == []
    assert world.outcomes("ada") == [("abandoned_cart", "cancelled")]


def test_a_quiet_cart_is_mailed_half_an_hour_after_its_newest_activity(world: World) -> None:
    identify(world)
    world.record(world.event("Product Added", user="ada", product=product("a")))
    world.now += 20 * MINUTE
    world.record(world.event("Coupon Applied", user="ada"))
    world.run(world.now + 29 * MINUTE)
    assert world.mails() == []
    world.run(world.now + 2 * MINUTE)
    assert world.mails() == [("abandoned_cart", ADA)]
    assert world.esp.mails[0].template_data["products"] == [
        {"product_id": "a", "name": "Product a", "price": "10.00", "quantity": 1}
    ]


def test_purchase_that_arrives_before_the_cart_event_still_cancels_the_mail(world: World) -> None:
    identify(world)
    world.record(world.event("Order Completed", user="ada", order_id="1", at=world.now))
    world.run()
    world.record(world.event("Product Added", user="ada", product=product("a"), at=world.now - MINUTE))
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA)]
    assert world.outcomes("ada")[-1] == ("abandoned_cart", "cancelled")


def test_a_purchase_before_the_cart_activity_does_not_cancel_it(world: World) -> None:
    identify(world)
    world.record(world.event("Product Added", user="ada", product=product("b"), at=world.now + 10 * MINUTE - 1))
    world.now += 10 * MINUTE
    world.record(world.event("Order Completed", user="ada", order_id="1", at=START))
    world.run(world.now + HOUR)
    assert ("abandoned_cart", ADA) in world.mails()


def test_a_thank_you_page_that_shows_what_was_ordered_is_no_new_cart(world: World) -> None:
    identify(world)
    world.record(world.event("Order Completed", user="ada", order_id="1", products=(product("a"), product("b"))))
    world.record(world.event("Cart Viewed", user="ada", products=(product("a"),), at=world.now + 30 * SECOND))
    world.run(world.now + HOUR)
    assert world.outcomes("ada")[-1] == ("abandoned_cart", "cancelled")


def test_a_new_product_right_after_the_order_is_a_new_cart(world: World) -> None:
    identify(world)
    world.record(world.event("Order Completed", user="ada", order_id="1", products=(product("a"),)))
    world.record(world.event("Product Added", user="ada", product=product("z"), at=world.now + 30 * SECOND))
    world.run(world.now + HOUR)
    assert ("abandoned_cart", ADA) in world.mails()


def test_an_emptied_cart_is_not_mailed(world: World) -> None:
    identify(world)
    world.record(world.event("Product Added", user="ada", product=product("a", variant="red")))
    world.record(world.event("Product Removed", user="ada", product=product("a"), at=world.now + 1))
    world.run(world.now + HOUR)
    assert world.outcomes("ada") == [("abandoned_cart", "cancelled")]


def test_a_snapshot_replaces_the_cart_and_keeps_its_own_lines(world: World) -> None:
    identify(world)
    world.record(world.event("Product Added", user="ada", product=product("old")))
    world.record(world.event("Cart Viewed", user="ada", products=(product("new"),), at=world.now + 1))
    world.run(world.now + HOUR)
    assert [line["product_id"] for line in world.esp.mails[0].template_data["products"]] == ["new"]


def test_one_cart_mail_a_day(world: World) -> None:
    identify(world)
    for hours in (0, 2, 30):
        world.now = START + hours * HOUR
        world.record(world.event("Product Added", user="ada", product=product(str(hours))))
        world.run(world.now + HOUR)
    assert [state for _, state in world.outcomes("ada")] == ["sent", "capped", "fallback_sent"]


def test_a_late_older_cart_event_brings_no_second_mail(world: World) -> None:
    identify(world)
    world.record(world.event("Product Added", user="ada", product=product("a")))
    world.run(world.now + HOUR)
    world.record(world.event("Product Added", user="ada", product=product("b"), at=START - MINUTE))
    world.run(world.now + HOUR)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_a_burst_of_late_events_settles_before_anything_is_sent(world: World) -> None:
    identify(world)
    world.record(world.event("Product Added", user="ada", product=product("a"), at=world.now - HOUR))
    world.run(world.now + MINUTE)
    world.record(world.event("Page", user="ada", at=world.now - HOUR))
    world.run(world.now + MINUTE + 30 * SECOND)
    assert world.mails() == []
    world.record(world.event("Order Completed", user="ada", at=world.now - 50 * MINUTE))
    world.run(world.now + HOUR)
    assert world.outcomes("ada")[-1] == ("abandoned_cart", "cancelled")
    assert world.mails() == []


def test_a_stream_of_arrivals_cannot_postpone_a_mail_for_ever(world: World) -> None:
    identify(world)
    world.record(world.event("Product Added", user="ada", product=product("a")))
    for _ in range(70):
        world.now += MINUTE
        world.record(world.event("Page", user="ada"))
        world.run()
    assert world.mails() == [("abandoned_cart", ADA)]


def test_browsing_is_followed_up_once_a_day_but_not_after_a_cart_or_an_order(world: World) -> None:
    identify(world)
    world.record(world.event("Product Viewed", user="ada", product=product("a")))
    world.run(world.now + 2 * HOUR)
    world.record(world.event("Product Viewed", user="ada", product=product("b")))
    world.run(world.now + 2 * HOUR)
    world.now += 30 * HOUR
    world.record(world.event("Product Viewed", user="ada", product=product("c")))
    world.record(world.event("Order Completed", user="ada", at=world.now + 1))
    world.run(world.now + 2 * HOUR)
    assert [state for _, state in world.outcomes("ada")] == ["sent", "capped", "cancelled"]


def test_welcome_is_sent_once_for_sign_up_and_fresh_identify_together(world: World) -> None:
    world.record(
        world.event("Signed Up", user="ada", email=ADA),
        world.event("Identify", user="ada", email=ADA, created_at=world.now - MINUTE, at=world.now + 1),
    )
    world.run()
    world.record(world.event("Identify", user="ada", email=ADA, created_at=START - MINUTE))
    world.run()
    assert world.mails() == [("welcome", ADA)]


def test_an_identify_of_an_old_account_welcomes_nobody(world: World) -> None:
    world.record(world.event("Identify", user="ada", email=ADA, created_at=world.now - 48 * HOUR))
    world.run(world.now + HOUR)
    assert world.mails() == [] and world.outcomes("ada") == []


def test_who_opted_out_gets_no_marketing_but_their_order_confirmation(world: World) -> None:
    identify(world)
    world.record(world.event("Unsubscribed", user="ada"))
    world.record(world.event("Product Added", user="ada", product=product("a"), at=world.now + 1))
    world.record(world.event("Order Completed", user="ada", order_id="1", at=world.now - HOUR))
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA)]
    assert ("abandoned_cart", "suppressed") in world.outcomes("ada")


def test_a_bounce_of_the_address_stops_everything_for_whoever_has_it(world: World) -> None:
    identify(world)
    world.record(world.event("Email Bounced", email=ADA.upper()))
    world.record(world.event("Order Completed", user="ada", order_id="1"))
    world.run()
    assert world.outcomes("ada") == [("order_confirmation", "suppressed")]


def test_an_unsubscribe_of_a_person_holds_for_the_address_they_have(world: World) -> None:
    identify(world)
    world.record(world.event("Unsubscribed", user="ada"))
    world.record(world.event("Identify", user="other", email=ADA))
    world.record(world.event("Product Added", user="other", product=product("a")))
    world.run(world.now + HOUR)
    assert world.outcomes("other") == [("abandoned_cart", "suppressed")]


def test_deleting_a_user_erases_them_and_stops_what_was_waiting(world: World) -> None:
    identify(world)
    world.record(world.event("Product Added", user="ada", product=product("a")))
    world.record(world.event("Delete", user="ada", at=world.now + 1))
    world.record(world.event("Product Added", user="ada", product=product("b"), at=world.now))
    world.run(world.now + HOUR)
    assert world.mails() == [] and world.state("ada") == {}
    assert not [key for key in world.client.scan_iter() if b"ada" in key]


def test_a_send_without_an_address_waits_for_one(world: World) -> None:
    world.record(world.event("Order Completed", user="ada", order_id="1"))
    world.run()
    assert world.outcomes("ada") == [("order_confirmation", "parked")]
    world.record(world.event("Identify", user="ada", email=ADA))
    world.run()
    assert world.mails() == [("order_confirmation", ADA)]


def test_an_address_typed_in_the_checkout_does_not_release_the_cart_mail_into_the_purchase(world: World) -> None:
    world.record(world.event("Product Added", anon="x", product=product("a")))
    world.run(world.now + 40 * MINUTE)
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    world.run(world.now + 5 * MINUTE)
    assert world.mails() == []
    world.record(world.event("Order Completed", user="ada", products=(product("a"),)))
    world.run(world.now + 2 * HOUR)
    assert world.mails() == []
    assert world.outcomes("ada")[-1] == ("abandoned_cart", "cancelled")


def test_who_gives_an_address_and_leaves_is_mailed_after_the_delay(world: World) -> None:
    world.record(world.event("Product Added", anon="x", product=product("a")))
    world.run(world.now + 40 * MINUTE)
    world.record(world.event("Identify", anon="x", email=ADA))
    world.run(world.now + 31 * MINUTE)
    assert world.mails() == [("abandoned_cart", ADA)]


def test_no_address_ever_ends_as_no_address(world: World) -> None:
    world.record(world.event("Product Added", anon="x", product=product("a")))
    world.run(world.now + 25 * HOUR)
    assert world.outcomes(anon="x") == [("abandoned_cart", "parked"), ("abandoned_cart", "no_address")]


def test_esp_refusals_become_outcomes(world: World) -> None:
    identify(world)
    cases = [
        (EspError("400", permanent=True), "rejected"),
        (EspError("timeout", ambiguous=True), "unknown"),
        (EspError("429", retry_after_s=100), "retry"),
    ]
    for number, (error, _) in enumerate(cases):
        world.esp.errors = [error]
        world.record(world.event("Order Completed", user="ada", order_id=str(number)))
        world.run()
    assert [state for _, state in world.outcomes("ada")] == [state for _, state in cases]
    world.run(world.now + 99 * SECOND)
    assert world.mails() == []
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA)]


def test_what_is_refused_until_max_age_is_dead(world: World) -> None:
    identify(world)
    world.esp.errors = [EspError("503")] * 1000
    world.record(world.event("Order Completed", user="ada", order_id="1"))
    world.run(world.now + 25 * HOUR)
    states = [state for _, state in world.outcomes("ada")]
    assert states[-1] == "dead" and set(states[:-1]) == {"retry"} and len(states) < 400


def test_a_second_user_of_a_device_never_gets_the_firsts_mail(world: World) -> None:
    world.record(world.event("Product Added", anon="x", product=product("a")))
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    world.now += SECOND
    world.record(world.event("Identify", user="bob", anon="x", email="bob@example.com"))
    reply = world.record(world.event("Product Added", anon="x", product=product("b"), at=world.now + 1))
    world.run(world.now + 2 * HOUR)
    assert reply.ignored == 1
    assert world.mails() == [("abandoned_cart", ADA)]
    assert "+a" not in world.state("bob") and "+b" not in world.state("ada")


def test_the_same_message_twice_is_a_duplicate(world: World) -> None:
    first = world.event("Product Added", user="ada", product=product("a"), message_id="m")
    assert (world.record(first, first).accepted, world.record(first).duplicate) == (1, 1)
