"""Opt-outs without an address, parked sends, and what pages claim: each guard of `identity.lua` at its boundary."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from freshgate.state import store
from freshgate.state.stamps import stamp
from tests.engine.test_record_guards import DAY, at, due, fields, record
from tests.engine.world import MINUTE, SHOP, START

DEVICE, ADA, BOB = f"{SHOP}p:ad1", f"{SHOP}p:uada", f"{SHOP}p:ubob"


@pytest.fixture
def shop(redis: Redis) -> Redis:
    store.load(redis)
    return redis


def link(shop: Redis, user: str, moment: int = START, device: str = "ad1", **parts: Any) -> str:
    return record(shop, id=user, at=moment, now=moment, links=[(device, user, False)], srv=True, **parts)


def page(shop: Redis, user: str, moment: int = START, device: str = "ad1", **parts: Any) -> list[str]:
    """A page tells of the device and claims that it is the user's; returns the reply's words."""
    claimed = {"links": [(device, user, True)], "claims": user} | parts
    return record(shop, id=device, at=moment, now=moment, **claimed).split()


def address(name: str, moment: int = START, address_id: str = "a1") -> tuple[str, str, str]:
    return f"A:{name}", at(moment), address_id


def opt_out(kind: str = "m:unsubscribed", moment: int = START) -> dict[str, Any]:
    return {"regs": [(kind, at(moment), "x")], "sup": True, "at": moment}


def suppressed(shop: Redis, address_id: str = "a1") -> dict[str, str]:
    return {name: value for name, value in fields(shop, f"{SHOP}a:{address_id}").items() if name[:2] == "m:"}


@pytest.mark.parametrize("name", ["email", "typed_email", "id", "said_email"])
@pytest.mark.parametrize("is_known", [True, False])
def test_an_opt_out_holds_for_the_address_that_is_known_or_comes_later(shop: Redis, name: str, is_known: bool) -> None:
    events: list[dict[str, Any]] = [{"regs": [address(name)]}, opt_out()]
    for event in events if is_known else reversed(events):
        record(shop, **event)
    assert suppressed(shop) == {"m:unsubscribed": at(START) + "x"}
    known = fields(shop, f"{SHOP}a:a1")
    assert (known["x"], known["rev"], shop.pttl(f"{SHOP}a:a1")) == ("forever", "1", -1)


def test_an_opt_out_holds_for_the_address_that_mail_would_go_to(shop: Redis) -> None:
    record(shop, regs=[address("said_email", address_id="a4")])
    record(shop, **opt_out())
    for name, address_id in (("id", "a3"), ("typed_email", "a2"), ("email", "a1")):
        record(shop, regs=[address(name, address_id=address_id)])
        record(shop, **opt_out("m:spam", START + 4 - int(address_id[1])))
        assert suppressed(shop, address_id).keys() == {"m:unsubscribed", "m:spam"}
    assert suppressed(shop, "a4").keys() == {"m:unsubscribed"}


def test_a_persons_opt_out_keeps_an_address_that_would_expire(shop: Redis) -> None:
    record(shop, regs=[address("email")], addresses=[("a1", [("h:uada", at(START), "")], DAY)])
    assert shop.pttl(f"{SHOP}a:a1") > 0
    record(shop, **opt_out())
    assert shop.pttl(f"{SHOP}a:a1") == -1


def test_the_newest_opt_out_of_all_ids_and_of_the_address_counts(shop: Redis) -> None:
    record(shop, regs=[address("email")], addresses=[("a1", [("m:unsubscribed", at(START + 5), "own")], 0)])
    record(shop, **opt_out(moment=START + 1))
    assert suppressed(shop) == {"m:unsubscribed": at(START + 5) + "own"}
    record(shop, id="ad1", **opt_out(moment=START + 9))
    record(shop, **opt_out(moment=START + 7))
    link(shop, "uada", START + 10)
    assert suppressed(shop) == {"m:unsubscribed": at(START + 9) + "x"}
    record(shop, **opt_out(moment=START + 8))
    assert suppressed(shop) == {"m:unsubscribed": at(START + 9) + "x"}


@pytest.mark.parametrize("by_device", [True, False])
def test_an_opt_out_of_one_id_holds_for_the_address_of_another(shop: Redis, by_device: bool) -> None:
    record(shop, id="ad1" if by_device else "uada", **opt_out())
    record(shop, id="uada" if by_device else "ad1", regs=[address("email")])
    assert suppressed(shop) == {}
    link(shop, "uada", START + 1)
    assert suppressed(shop) == {"m:unsubscribed": at(START) + "x"}


def test_a_linked_devices_opt_out_holds_for_an_address_that_comes_later(shop: Redis) -> None:
    link(shop, "uada")
    record(shop, id="ad1", **opt_out())
    assert fields(shop)["sup"] == "1"
    record(shop, regs=[address("email")])
    assert suppressed(shop) == {"m:unsubscribed": at(START) + "x"}


@pytest.mark.parametrize(
    ("waits", "moment", "released"),
    [
        (f"{30 * MINUTE} {MINUTE}", START, START + 30 * MINUTE),
        (f"{30 * MINUTE} {MINUTE}", START - 30 * MINUTE, START + MINUTE),
        ("0 0", START - MINUTE, START),
    ],
)
def test_an_address_releases_what_waited_for_it_once(shop: Redis, waits: str, moment: int, released: int) -> None:
    timer = "cart|p:uada"
    shop.hset(ADA, mapping={f"k:{timer}": waits, "parked": "1", "rev": "1"})
    shop.zadd(f"{SHOP}timers:cart", {timer: START + 9 * DAY})
    record(shop)
    assert due(shop, timer) == START + 9 * DAY
    record(shop, at=moment, addr=True, trail="{}")
    assert due(shop, timer) == released
    known = fields(shop)
    assert (known.get("b:cart"), f"k:{timer}" in known, "parked" in known) == (
        str(moment) if waits[0] != "0" else None, False, False,
    )  # fmt: skip
    line: Any = shop.lindex(f"{ADA}:ev", 0)
    assert line.decode().split("\t")[1] == f"cart released {released - moment}"


@pytest.mark.parametrize("name", ["A:email", "A:typed_email", "A:id", "A:said_email"])
@pytest.mark.parametrize("of_device", [True, False])
def test_a_link_releases_what_waited_for_the_address_of_the_other(shop: Redis, name: str, of_device: bool) -> None:
    timer = "cart|p:uada" if of_device else "cart|p:ad1"
    waiting, other = (ADA, DEVICE) if of_device else (DEVICE, ADA)
    shop.hset(waiting, mapping={f"k:{timer}": "0 0", "parked": "1", "rev": "1"})
    shop.hset(other, mapping={name: at(START) + "x", "rev": "1"})
    link(shop, "uada", START + 1)
    assert due(shop, "cart|p:uada") == START + 1
    assert "parked" not in fields(shop)


def test_a_link_without_an_address_releases_nothing(shop: Redis) -> None:
    shop.hset(DEVICE, mapping={"k:cart|p:ad1": "0 0", "parked": "1", "rev": "1"})
    link(shop, "uada")
    assert due(shop, "cart|p:uada") is None
    assert fields(shop)["parked"] == "1"


def test_a_page_speaks_for_its_device_while_no_server_knows_the_person(shop: Redis) -> None:
    assert page(shop, "uada") == ["ok", "uada", "linked"]
    assert (fields(shop, DEVICE)["to"], fields(shop)["claimed"]) == ("uada", "ad1")
    assert shop.pttl(ADA) > 179 * DAY
    shop.pexpire(ADA, DAY)
    page(shop, "uada", device="ad2")
    assert (fields(shop)["claimed"], shop.pttl(ADA) <= DAY) == ("ad1 ad2", True)
    # A server knows her from now on: what only pages claimed no longer counts.
    record(shop, srv=True)
    for device in (DEVICE, f"{SHOP}p:ad2"):
        assert ("to" in fields(shop, device), fields(shop, device)["unproven"]) == (False, "1")
    assert page(shop, "uada", START + 1)[:2] == ["ok", "ad1"]
    link(shop, "uada", START + 2)
    assert (fields(shop, DEVICE)["to"], "unproven" in fields(shop, DEVICE)) == ("uada", False)


def test_from_when_a_page_names_another_user_the_device_is_nobodys(shop: Redis) -> None:
    link(shop, "uada")
    assert page(shop, "ubob", START + 1)[0] == "amb"
    assert fields(shop, DEVICE)["to"] == "uada"
    record(shop, id="ubob", srv=True)
    assert page(shop, "ubob", START + 2, device="ad2")[:2] == ["ok", "ad2"]


def test_a_server_is_noted_once_and_every_claim_is_looked_at_once(shop: Redis) -> None:
    page(shop, "uada")
    record(shop, srv=True)
    shop.hset(DEVICE, "unproven", "untouched")
    record(shop, srv=True)
    assert fields(shop, DEVICE)["unproven"] == "untouched"


def test_two_persons_who_are_one_make_a_shared_device_theirs(shop: Redis) -> None:
    link(shop, "uada")
    assert link(shop, "ubob", START + 1).split()[2] == "ambiguous"
    record(shop, id="ubob", at=START + 2, now=START + 2, links=[("uada", "ubob", False)], srv=True)
    assert (fields(shop, DEVICE)["to"], "cut" in fields(shop, DEVICE)) == ("ubob", False)


def test_members_of_members_follow_and_only_200_count_until_they_are_used(shop: Redis) -> None:
    for number in range(202):
        link(shop, "uada", START + number, f"ad{number}")
    assert len(fields(shop)["ids"].split()) == 200
    oldest = f"{SHOP}p:ad0"
    assert (fields(shop, oldest)["idle"], "idle" in fields(shop, f"{SHOP}p:ad2")) == ("1", False)
    record(shop, id="ad0", at=START + 300)
    assert ("idle" in fields(shop, oldest), fields(shop)["ids"].split()[-1]) == (False, "ad0")
    record(shop, id="ubob", at=START + 400, links=[("uada", "ubob", False)], srv=True)
    assert fields(shop, f"{SHOP}p:ad5")["to"] == "ubob"
    assert record(shop, id="ad5", at=START + 500).split()[:2] == ["ok", "ubob"]
    assert stamp(START, "m") == at(START)


def test_a_chain_of_ids_leads_to_the_root(shop: Redis) -> None:
    for number in range(5):
        shop.hset(f"{SHOP}p:x{number}", "to", f"x{number + 1}")
    assert record(shop, id="x0").split()[:2] == ["ok", "x5"]


def test_the_newest_50_devices_that_a_page_claimed_are_remembered(shop: Redis) -> None:
    for number in range(52):
        page(shop, "uada", START + number, f"ad{number}")
    assert [fields(shop)["claimed"].split()[index] for index in (0, -1)] == ["ad2", "ad51"]
    assert len(fields(shop)["claimed"].split()) == 50


def test_an_id_that_only_a_page_named_expires(shop: Redis) -> None:
    link(shop, "uada")
    page(shop, "ubob", START + 1)
    assert fields(shop, BOB) == {"claimed": "ad1", "met": "ad1"}
    assert 179 * DAY < shop.pttl(BOB) <= 180 * DAY
