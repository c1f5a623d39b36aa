"""A device that a server tells of for the first time is written with the event that tells of it, on both sides."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from freshgate.state import store
from tests.engine.test_identity_guards import ADA, BOB, DEVICE, erasure, link
from tests.engine.test_record_guards import CART, WELCOME, at, due, fields, lines, record
from tests.engine.world import HOUR, MINUTE, SHOP, START

OTHER = f"{SHOP}p:ad2"


@pytest.fixture
def shop(redis: Redis) -> Redis:
    store.load(redis)
    return redis


def test_a_new_device_is_one_of_its_users_at_once(shop: Redis) -> None:
    assert link(shop, "uada") == "ok uada linked"
    assert link(shop, "uada", device="ad2") == "ok uada linked"
    assert (fields(shop)["ids"], fields(shop, DEVICE)["to"], fields(shop, OTHER)["to"]) == ("ad1 ad2", "uada", "uada")


def test_each_of_two_new_devices_of_one_event_is(shop: Redis) -> None:
    record(shop, links=[("ad1", "uada", False), ("ad2", "uada", False)])
    assert (fields(shop)["ids"], fields(shop, DEVICE)["to"], fields(shop, OTHER)["to"]) == ("ad1 ad2", "uada", "uada")


def test_it_belongs_to_the_user_it_is_linked_to_whoever_the_event_is_told_of(shop: Redis) -> None:
    record(shop, id="ubob", links=[("ad1", "uada", False)])
    assert (fields(shop)["ids"], fields(shop, DEVICE)["to"]) == ("ad1", "uada")
    assert "ids" not in fields(shop, BOB)


def test_it_belongs_to_the_one_that_its_user_turned_out_to_be(shop: Redis) -> None:
    record(shop, id="ubob", links=[("uada", "ubob", False)])
    record(shop, links=[("ad1", "uada", False)])
    assert (fields(shop, BOB)["ids"], fields(shop, DEVICE)["to"]) == ("uada ad1", "ubob")
    assert "ids" not in fields(shop)


def test_a_page_claims_it_and_links_nothing(shop: Redis) -> None:
    record(shop, links=[("ad1", "uada", True)])
    assert {"P:uada", "L:uada"} & fields(shop, DEVICE).keys() == {"P:uada"}


@pytest.mark.parametrize("known", ["uada", "ubob"])
def test_a_servers_first_word_with_a_new_device_ends_what_a_page_claimed(shop: Redis, known: str) -> None:
    for user, moment in (("uada", START), ("ubob", START + 1)):
        record(shop, id="ad1", at=moment, links=[("ad1", user, True)])
    assert fields(shop, DEVICE)["to"] == "uada"
    assert link(shop, known, START + 2, device="ad2") == f"ok {known} linked"
    assert (fields(shop, f"{SHOP}p:{known}")["ids"], fields(shop, OTHER)["to"]) == ("ad2", known)
    assert {"to", "unproven"} & fields(shop, DEVICE).keys() == {"unproven"}


@pytest.mark.parametrize("event", [{"del": START + 1}, {"at": START - 1}], ids=["that asks again", "of before"])
def test_of_somebody_erased_it_is_a_device_too(shop: Redis, event: dict[str, Any]) -> None:
    # As the record of an id has it that was erased along with a person whose it is no more.
    shop.hset(ADA, mapping={"del": START, "rev": 1})
    record(shop, links=[("ad1", "uada", False)], **event)
    assert (fields(shop)["ids"], fields(shop, DEVICE)["to"]) == ("ad1", "uada")


def test_whoever_asks_to_be_erased_on_a_new_device_is_erased_on_it(shop: Redis) -> None:
    record(shop, links=[("ad1", "uada", False)], **erasure(START))
    assert (fields(shop)["ids"], fields(shop, DEVICE)["to"]) == ("ad1", "uada")
    assert fields(shop, DEVICE)["del"] == str(START)


def test_each_trigger_of_a_person_has_a_first_due_of_its_own(shop: Redis) -> None:
    record(shop, regs=[("m:view", at(START), "")])
    record(shop, at=START + 1, regs=[("m:view", at(START + 1), "")], starts=[CART])
    record(shop, at=START + 2, regs=[("m:view", at(START + 2), "")], starts=[CART, WELCOME])
    known = fields(shop)
    assert (known["f:cart"], known["f:welcome"]) == (str(START + 30 * MINUTE), "0")


def test_after_a_mail_what_starts_the_next_one_is_due_first_anew(shop: Redis) -> None:
    def add(moment: int) -> None:
        changes = lines(("lamp", moment, "+1"))
        record(shop, at=moment, now=moment, regs=[("m:view", at(moment), "")], lines=changes, starts=[CART])

    add(START)
    shop.hdel(ADA, "f:cart")
    add(START + HOUR)
    add(START + HOUR + MINUTE)
    assert fields(shop)["f:cart"] == str(START + HOUR + 30 * MINUTE)


def test_a_first_due_is_the_persons_whichever_device_starts_it(shop: Redis) -> None:
    def view(device: str, moment: int) -> None:
        record(shop, id=device, at=moment, now=moment, regs=[("m:view", at(moment), "")], starts=[CART])

    view("ad1", START)
    link(shop, "uada", START + 1, device="ad2")
    link(shop, "uada", START + 2)
    shop.hdel(ADA, "f:cart")
    # The device's own first due is not the person's.
    view("ad1", START + MINUTE)
    view("ad2", START + 2 * MINUTE)
    assert fields(shop)["f:cart"] == str(START + 31 * MINUTE)
    assert due(shop, "cart|p:uada") == START + 32 * MINUTE
