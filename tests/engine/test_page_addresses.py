"""Mail to an address that only a page gave: none, until a server tells it, in whatever order the two arrive."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from freshgate.events import Event
from freshgate.state import keys
from tests.engine.world import HOUR, MINUTE, START, World, product
from tests.harness.examples import examples
from workers.gate import decide

ADA, EVE, VICTIM = "ada@example.com", "eve@example.com", "victim@example.com"
CART = "abandoned_cart"


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)


def from_page(world: World, name: str, **fields: Any) -> Event:
    event = world.event(name, anon="x", **fields)
    world.record(event, trusted=False)
    return event


def test_a_stranger_with_the_pages_key_has_the_shop_mail_nobody(world: World) -> None:
    # As it was done: thirty devices, one victim, who is a customer of the shop.
    world.record(world.event("Identify", user="v", email=VICTIM))
    for number in range(30):
        device: dict[str, Any] = {"anon": f"attacker-{number}", "email": VICTIM}
        world.record(world.event("Product Added", **device, product=product(f"x{number}")), trusted=False)
        world.record(world.event("Identify", **device, first_name="Your account is locked"), trusted=False)
    world.run(world.now + 30 * HOUR)
    assert world.mails() == []
    assert world.outcomes(anon="attacker-1") == [(CART, "parked"), (CART, "no_address")]
    assert [entry["reason"] for entry in world.decisions(anon="attacker-1")] == ["address_unproven", "unproven"]


def test_a_waiting_mail_leaves_once_a_server_tells_the_address(world: World) -> None:
    from_page(world, "Product Added", email=ADA, product=product("a"))
    world.run(world.now + HOUR)
    assert world.mails() == []
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    world.run(world.now + HOUR)
    assert world.mails() == [(CART, ADA)]


def test_an_address_that_a_server_told_before_is_proven(world: World) -> None:
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    from_page(world, "Product Added", email=ADA, product=product("a"))
    world.run(world.now + HOUR)
    assert world.mails() == [(CART, ADA)]


def test_a_guests_order_proves_the_guests_address(world: World) -> None:
    world.record(world.event("Order Completed", anon="x", email=ADA, order_id="1", products=(product("b"),)))
    world.run()
    world.now += 2 * HOUR
    from_page(world, "Product Added", product=product("a"))
    world.run(world.now + HOUR)
    assert world.mails() == [("order_confirmation", ADA), (CART, ADA)]


def test_a_page_does_not_take_a_proven_persons_mail_to_another_address(world: World) -> None:
    world.record(world.event("Identify", user="ada", anon="x", email=ADA))
    world.now += MINUTE
    from_page(world, "Product Added", email=EVE, product=product("a"))
    world.run(world.now + HOUR)
    assert world.mails() == [(CART, ADA)]


@pytest.mark.parametrize("allowed", [False, True])
def test_a_claimed_user_id_that_is_an_address_proves_nothing(redis: Redis, allowed: bool) -> None:
    world = World(redis, page_addresses=allowed)
    from_page(world, "Product Added", user=VICTIM, product=product("a"))
    world.run(world.now + HOUR)
    assert world.mails() == []


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_form_of_the_shop_outweighs_a_page(redis: Redis, order: tuple[int, ...]) -> None:
    world = World(redis, page_addresses=True)
    typed = world.event("Product Added", user="ada", anon="x", contact_email=ADA, product=product("a"))
    link = world.event("Page", user="ada", anon="x")
    page = world.event("Identify", anon="x", email=EVE, at=world.now + 1)
    for event, trusted in [((typed, True), (link, True), (page, False))[index] for index in order]:
        world.record(event, trusted=trusted)
    world.run(world.now + HOUR)
    assert world.mails() == [(CART, ADA)]


def test_a_pages_address_does_not_put_off_what_waits_and_an_opt_out_does_not_reach_it(world: World) -> None:
    from_page(world, "Product Added", product=product("a"))
    world.run(world.now + HOUR)
    from_page(world, "Identify", email=VICTIM)
    assert world.due_timers(world.now + 2 * HOUR) == []
    world.record(world.event("Unsubscribed", anon="x"))
    assert not world.client.exists(keys.address("main", keys.address_id(world.planner.pii_key, VICTIM)))


EVENT = st.tuples(
    st.sampled_from(["Product Added", "Product Viewed", "Identify", "Page"]),
    st.sampled_from([None, ADA, EVE]),
    st.sampled_from([(None, "x", True), ("u", None, True), ("u", "x", True), (None, "x", False), ("u", "x", False)]),
    st.integers(0, 9),
)


@settings(max_examples=examples(100), deadline=None, suppress_health_check=list(HealthCheck))
@given(stream=st.lists(EVENT, min_size=1, max_size=10), allowed=st.booleans(), data=st.data())
def test_pages_and_servers_words_converge_in_any_order(
    redis: Redis, stream: list[Any], allowed: bool, data: st.DataObject
) -> None:
    outcomes = []
    numbered = list(enumerate(stream))
    for order in (numbered, data.draw(st.permutations(numbered * 2))):
        redis.flushdb()
        world = World(redis, page_addresses=allowed)
        for number, (name, email, (user, device, trusted), tick) in order:
            fields: dict[str, Any] = {"product": product("ab"[tick % 2])} if name.startswith("Product") else {}
            at = START - HOUR + tick * 1000
            event = world.event(name, at=at, user=user, anon=device, email=email, message_id=f"m{number}", **fields)
            world.record(event, trusted=trusted)
        observed: list[Any] = []
        for user, device in (("u", None), (None, "x")):
            observed += [world.state(user, device), world.person(user, device).email]
            for trigger in world.triggers.values():
                if trigger.subject == "person":
                    timer = keys.timer(trigger.name, "p", keys.person_id("main", user, device))
                    decision = decide(trigger, world.records(timer), START + HOUR)
                    observed.append((decision.do, decision.outcome, decision.reason, decision.to))
        outcomes.append(observed)
    assert outcomes[0] == outcomes[1]
