"""`python -m adapter why` finds persons by each of their ids, orders, and single sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis

from adapter.commands.operate import why
from freshgate.settings import Settings
from freshgate.state import keys
from tests.engine.world import PII_KEY, World

ADA, BOB = "ada@example.com", "bob@example.com"


@pytest.fixture
def world(redis: Redis) -> World:
    """Ada completed order 1001, after which it was cancelled; Bob completed 1002."""
    world = World(redis)
    world.record(world.event("Order Completed", user="ada", email=ADA, order_id="1001"))
    world.record(world.event("Order Completed", user="bob", email=BOB, order_id="1002"))
    world.run()
    world.now += 1000
    world.record(world.event("Order Cancelled", user="shopkeeper", order_id="1001"))
    return world


@pytest.fixture
def ask(world: World, redis_server: str, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(searched_id: str, **options: Any) -> tuple[int, str]:
        # Without what the engine logged before.
        capsys.readouterr()
        code = why.main(Settings(redis_url=redis_server, pii_key=PII_KEY.decode()), searched_id, **options)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return call


def test_a_person_is_found_by_id_and_by_address(ask: Any) -> None:
    for searched_id in ("ada", ADA):
        code, text = ask(searched_id)
        assert code == 0
        assert text.startswith("person u")
        assert "Order Completed from segment: accepted" in text
        assert "order_confirmation: sent" in text


def test_an_address_that_a_device_of_two_users_named_leads_to_neither(world: World, ask: Any) -> None:
    world.record(world.event("Page", user="ada", anon="x"), world.event("Page", at=world.now + 1, user="bob", anon="x"))
    world.now += 1000
    for name in ("Product Viewed", "Unsubscribed", "Order Completed"):
        assert world.record(world.event(name, anon="x", email="carl@example.com")).ignored == 1
    code, text = ask("carl@example.com")
    assert code == 1
    assert ADA not in text and "Order Completed" not in text


def test_what_an_operator_holds_back_stands_behind_the_trail(redis: Redis, ask: Any) -> None:
    assert "release" not in ask("ada")[1]
    redis.sadd(keys.HOLD, "welcome")
    assert ask("ada")[1].splitlines()[-1].startswith("  now: mails of welcome wait until")
    redis.sadd(keys.HOLD, "*")
    assert ask("ada")[1].splitlines()[-1].startswith("  now: all mails wait until")
    assert json.loads(ask("ada", as_json=True)[1])["held"] == ["*", "welcome"]


def test_an_order_is_found_with_what_became_of_it_and_the_trail_of_who_completed_it(ask: Any) -> None:
    code, text = ask("1001")
    assert code == 0
    head, person, *trail = text.splitlines()
    assert head.startswith("order 1001: completed 2025-10-09 ") and ", cancelled 2025-10-09 " in head
    assert person == ask("ada")[1].splitlines()[0]
    assert any("order_confirmation: sent" in line for line in trail)
    report = json.loads(ask("1001", as_json=True)[1])
    assert report["known_as"] == "order" and set(report["order"]) == {"completed", "cancelled"}


def test_an_order_that_a_visitor_told_first_shows_the_trail_of_the_customer_who_was_mailed(
    world: World, ask: Any
) -> None:
    world.record(world.event("Order Completed", anon="visitor", order_id="1003"))
    world.record(world.event("Order Completed", at=world.now + 5, user="ada", order_id="1003"))
    world.run()
    assert "order_confirmation: sent" in ask("1003")[1]


def test_an_order_of_a_device_that_turns_out_to_be_nobodys_says_why_it_was_not_confirmed(
    world: World, ask: Any
) -> None:
    order = world.event("Order Completed", anon="shared", order_id="1003")
    pages = [
        world.event("Page", at=world.now - after, user=user, anon="shared") for after, user in ((9, "ada"), (8, "bob"))
    ]
    world.record(order, *pages)
    world.run()
    for searched_id in ("1003", "shared"):
        assert "order_confirmation: cancelled (ambiguous_buyer)" in ask(searched_id)[1]


def test_an_order_of_which_only_the_end_is_known_names_nobody(world: World, ask: Any) -> None:
    world.record(world.event("Order Cancelled", user="shopkeeper", order_id="2001"))
    code, text = ask("2001")
    assert code == 0
    assert text.startswith("order 2001: cancelled ")
    assert "it is not known who completed it" in text


def test_a_send_is_found_by_its_id_and_only_its_lines_are_shown(world: World, ask: Any) -> None:
    world.record(world.event("Signed Up", user="bob", email=BOB))
    world.run()
    send = next(mail.send_id for mail in world.esp.mails if mail.trigger == "order_confirmation" and mail.to == BOB)
    code, text = ask(send)
    assert code == 0
    assert "welcome" in ask("bob")[1] and "welcome" not in text
    head, person, line, compared = text.splitlines()
    assert head == f"send {send}"
    assert person == ask("bob")[1].splitlines()[0]
    assert "compared order" in compared
    assert "order_confirmation: sent" in line and f"send {send}" in line


def test_an_id_that_is_several_things_can_be_told_apart(world: World, ask: Any) -> None:
    world.record(world.event("Page", user="1002"))
    assert ask("1002")[1].startswith("person ")
    assert ask("1002", only="order")[1].startswith("order 1002: completed ")


@pytest.mark.parametrize("searched_id", ["nobody", "f" * 24, "nobody@example.com"])
def test_an_unknown_id_is_1(ask: Any, searched_id: str) -> None:
    code, text = ask(searched_id)
    assert code == 1
    assert searched_id in text
