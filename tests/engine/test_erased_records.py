"""What an erasure takes out of each record, and what it leaves; each guard at its boundary."""

from __future__ import annotations

import pytest
from redis import Redis

from freshgate.state import store
from freshgate.state.stamps import ORDER
from tests.engine.test_identity_guards import ADA, DEVICE, erasure, link, order
from tests.engine.test_record_guards import ADDRESS, DAY, ORDERS, at, bought, fields, record
from tests.engine.world import MINUTE, SHOP, START


@pytest.fixture
def shop(redis: Redis) -> Redis:
    store.load(redis)
    return redis


def fill(shop: Redis, moment: int) -> None:
    """Everything that an event can leave with a person, an order and an address, at that moment."""
    registers = [(f"{kind}{moment - START}", at(moment), "") for kind in ("m:", "t:")] + [
        (f"A:{moment - START}", at(moment), "a1"),
        (f"M:{moment - START}", at(moment), "a2"),
    ]
    name = f"p{moment - START}"
    telling = order(
        ("m:order", at(moment), ""), firsts=[(name, at(moment), "") for name in ("F:order", "w:uada", "M:order")]
    )
    address = ("a1", [("h:uada", at(moment), ""), ("m:order", at(moment), "")], DAY)
    record(
        shop, regs=registers, lines=[(name, at(moment), "+1", "{}"), (f"r{name}", at(moment), "-1", "{}")],
        order=telling, addresses=[address], trail="{}", **bought(moment, "[]"),
    )  # fmt: skip
    shop.hset(f"{SHOP}p:uada", "cc", at(moment))
    shop.lpush(f"{SHOP}p:uada:dec", "1\t\t{}")


@pytest.mark.parametrize(("moment", "stays"), [(START - 1, False), (START, False), (START + 1, True)])
def test_erasure_takes_everything_up_to_its_very_moment(shop: Redis, moment: int, stays: bool) -> None:
    fill(shop, moment)
    record(shop, at=START, now=START + MINUTE, **erasure(START))
    person, order_fields, address = fields(shop), fields(shop, ORDERS), fields(shop, ADDRESS)
    names = {
        name for name in person if name[:2] in ("m:", "t:", "A:", "M:", "n:") or name[0] in "+-" or name in ("O", "cc")
    }
    assert (len(names) == 9, not names) == (stays, not stays)
    names = {"m:order", "F:order", "w:uada", "M:order"}
    assert names & order_fields.keys() == (names if stays else set())
    assert order_fields["rev"] == ("1" if stays else "2")
    assert {"h:uada", "m:order"} & address.keys() == ({"h:uada", "m:order"} if stays else set())
    assert not shop.exists(f"{ADA}:ev", f"{ADA}:dec")
    assert (person["del"], "x" in person, person["rev"]) == (str(START), False, "2")
    assert shop.pttl(ADA) > 179 * DAY
    for later, verdict in ((moment, "ok" if stays else "del"), (START, "del"), (START + 1, "ok")):
        assert record(shop, at=later).split()[0] == verdict


def test_erasure_takes_part_of_what_has_several_moments(shop: Redis) -> None:
    for moment in (START, START + 1):
        record(shop, lines=[("p1", at(moment), "+1", "{}")], **bought(moment, "[]", f"o{moment - START}"))
    record(shop, **erasure(START))
    assert fields(shop)["n:p1"] == at(START + 1) + "+1"
    assert fields(shop)["O"] == at(START + 1, ORDER) + " o1\t[]"
    assert not shop.exists(f"{SHOP}o:o0")


def test_erasure_holds_for_every_id_and_an_older_one_changes_nothing(shop: Redis) -> None:
    link(shop, "uada")
    record(shop, at=START + 9, seen="d", **erasure(START + 9))
    assert (fields(shop)["del"], fields(shop, DEVICE)["del"]) == (str(START + 9), str(START + 9))
    assert record(shop, at=START + 9, seen="d", **erasure(START + 9)).split()[0] == "dup"
    record(shop, at=START + 5, **erasure(START + 5))
    assert fields(shop)["del"] == str(START + 9)
    shop.hdel(DEVICE, "del")
    assert record(shop, id="ad1", at=START + 9).split()[0] == "del"
    link(shop, "uada", START + 20, "ad2")
    assert fields(shop, f"{SHOP}p:ad2")["del"] == str(START + 9)


def test_erasure_leaves_what_was_said_of_an_order_later(shop: Redis) -> None:
    record(shop, order=order(("m:order", at(START), "")), **bought(START, "[]"))
    record(shop, order=order(("m:cancelled", at(START + 5), "")))
    record(shop, **erasure(START))
    assert {name for name in fields(shop, ORDERS) if name[:2] == "m:"} == {"m:cancelled"}


def test_erasure_leaves_the_newer_owner_of_an_address(shop: Redis) -> None:
    record(shop, regs=[("A:email", at(START), "a1")])
    record(shop, addresses=[("a1", [("h:ubob", at(START + 5), ""), ("m:order", at(START), "[]")], DAY)])
    record(shop, **erasure(START))
    assert {name for name in fields(shop, ADDRESS) if name[:2] in ("h:", "m:")} == {"h:ubob"}


def test_an_erasure_is_a_new_revision_of_the_addresses_that_it_changes(shop: Redis) -> None:
    names = ("A:email", "A:billing", "A:guest", "A:older")
    record(shop, regs=[(name, at(START), f"a{number}") for number, name in enumerate(names)])
    for address, moment in (("a0", START + 1), ("a1", START), ("a2", START + 1)):
        record(shop, addresses=[(address, [("h:ubob", at(moment), ""), ("m:order", at(moment), "")], DAY)])
    record(shop, **erasure(START))
    own, changed, newer, unknown = (fields(shop, f"{SHOP}a:a{number}") for number in range(4))
    # Of the person's own address, what is older and arrives later is erased from now on.
    assert (own["rev"], changed["rev"], newer["rev"], unknown) == ("2", "2", "1", {})
    assert changed.keys().isdisjoint({"h:ubob", "m:order"})
    assert {"h:ubob", "m:order"} <= own.keys() & newer.keys()


def test_a_newer_telling_of_an_erased_order_keeps_what_it_said(shop: Redis) -> None:
    for moment in (START - 1, START + 1):
        record(shop, order=order(firsts=[("F:order", at(moment), "text")]), **bought(moment, "[]"))
    record(shop, at=START, **erasure(START))
    known = fields(shop, ORDERS)
    assert known.get("m:order") == at(START + 1) + "text"


def test_a_device_that_is_new_to_an_erased_person_is_erased_as_well(shop: Redis) -> None:
    record(shop, at=START, **erasure(START))
    record(shop, at=START + 1, links=[("ad1", "uada", False)])
    assert fields(shop, f"{SHOP}p:ad1")["del"] == str(START)


def test_a_device_that_is_linked_at_first_sight_lives_as_long_as_its_person(shop: Redis) -> None:
    record(shop, links=[("ad1", "uada", False)])
    assert shop.pttl(f"{SHOP}p:ad1") > 179 * DAY
