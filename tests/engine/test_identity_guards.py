"""What links, erasures and orders write, record by record; each guard at its boundary."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from redis import Redis

from freshgate.state import store
from freshgate.state.stamps import LENGTH, ORDER, stamp_time
from freshgate.state.store import fcall
from tests.engine.test_record_guards import (
    ADDRESS,
    CART,
    CONFIRMATION,
    DAY,
    ORDERS,
    at,
    bought,
    due,
    fields,
    record,
    trail,
)
from tests.engine.world import HOUR, MINUTE, SHOP, START

DEVICE, ADA, BOB = f"{SHOP}p:ad1", f"{SHOP}p:uada", f"{SHOP}p:ubob"


@pytest.fixture
def shop(redis: Redis) -> Redis:
    store.load(redis)
    return redis


def link(shop: Redis, user: str, moment: int = START, device: str = "ad1", **parts: Any) -> str:
    """A server tells of the device and the user together; returns the reply."""
    return record(shop, id=user, at=moment, now=moment, links=[(device, user, False)], srv=True, **parts)


def erasure(moment: int) -> dict[str, Any]:
    return {"del": moment}


def order(*registers: tuple[str, str, str], firsts: Any = ()) -> tuple[Any, ...]:
    return "o1", list(registers), list(firsts), 30 * DAY


def test_the_first_telling_of_an_order_is_kept_and_the_newest_beside_it(shop: Redis) -> None:
    def tell(moment: int, text: str) -> None:
        telling = order(firsts=[("F:order", at(moment), text)])
        record(shop, order=telling, starts=[CONFIRMATION], trace="00-a", now=START, **bought(moment, "[]"))

    tell(START, "b")
    assert due(shop, "confirmation|o:o1") == START + 20_000
    assert fields(shop, ORDERS)["p:confirmation"] == "00-a"
    assert 29 * DAY < shop.pttl(ORDERS) <= 30 * DAY
    shop.delete(f"{SHOP}timers:confirmation")
    tell(START - 5, "a")
    # An older telling, too, may bring what was missing.
    assert due(shop, "confirmation|o:o1") == START + 20_000
    tell(START + 5, "c")
    known = fields(shop, ORDERS)
    # The order's stamp ranks after that of an add, so the first telling keeps the event's own.
    assert (known["m:order"], known["F:order"]) == (at(START + 5) + "c", at(START - 5) + "a")
    assert known["rev"] == "3"
    assert due(shop, "confirmation|o:o1") == START + 20_000


@pytest.mark.parametrize("moments", list(permutations([1, 2, 3])))
@pytest.mark.parametrize(("texts", "beside"), [("aaa", ""), ("abc", "c"), ("aba", ""), ("abb", "b")])
def test_an_order_is_stored_once_as_far_as_its_tellings_say_the_same(
    shop: Redis, moments: tuple[int, ...], texts: str, beside: str
) -> None:
    def tell(moment: int) -> None:
        text = texts[moment - 1]
        record(shop, order=order(firsts=[("F:order", at(START + moment), text)]), **bought(START + moment, "[]"))

    tell(moments[0])
    tell(moments[0])
    assert "m:order" not in fields(shop, ORDERS)
    for moment in moments[1:]:
        tell(moment)
    known = fields(shop, ORDERS)
    assert (known["F:order"], known["m:order"]) == (at(START + 1) + "a", at(START + 3) + beside)


@pytest.mark.parametrize("backwards", [False, True])
def test_of_those_who_told_an_order_the_first_are_remembered(shop: Redis, backwards: bool) -> None:
    # Of two at once, the order of their names decides.
    tellers = [("uada", 1), ("ubob", 16), *((f"u{number}", number) for number in range(2, 17))]
    for teller, moment in reversed(tellers) if backwards else tellers:
        record(shop, order=order(firsts=[(f"w:{teller}", at(START + moment), "")]))
    known = {field for field in fields(shop, ORDERS) if field.startswith("w:")}
    assert known == {"w:uada", *(f"w:u{number}" for number in range(2, 17))}


def test_an_order_that_is_older_than_three_persons_knew_is_so_for_each(shop: Redis) -> None:
    for number, teller in enumerate(("uada", "ubob", "ucat")):
        telling = order(firsts=[("F:order", at(START + number), "a"), (f"w:{teller}", at(START + number), "")])
        record(shop, id=teller, order=telling, **bought(START + number, "[]"))
    record(shop, id="udan", order=order(firsts=[("F:order", at(START - 9), "a")]), **bought(START - 9, "[]"))
    for teller in ("uada", "ubob", "ucat"):
        assert fields(shop, f"{SHOP}p:{teller}")["O"].startswith(at(START - 9, ORDER))


def test_what_a_later_telling_adds_has_its_own_time(shop: Redis) -> None:
    record(shop, order=order(firsts=[("F:order", at(START), "a")]), **bought(START, "[]"))
    record(shop, order=order(firsts=[("F:email", at(START + 5), "x")]), **bought(START + 5, "[]"))
    assert fields(shop, ORDERS)["F:email"] == at(START + 5) + "x"


def test_an_order_told_again_withdraws_by_address_as_of_its_first_telling(shop: Redis) -> None:
    for moment in (START, START + 9):
        address = ("a1", [("m:order", at(moment, ORDER), "[]")], 180 * DAY)
        record(shop, order=order(), addresses=[address], **bought(moment, "[]"))
    assert fields(shop, ADDRESS)["m:order"] == at(START, ORDER) + "[]"


def test_a_pages_order_does_not_count_as_a_first_telling(shop: Redis) -> None:
    record(shop, **bought(START - 9, "[]"))
    record(shop, order=order(), **bought(START, "[]"))
    assert shop.get(f"{SHOP}once:o1") == at(START, ORDER).encode()


def test_purchases_are_bounded_by_number_and_bytes_and_the_newest_stays(shop: Redis) -> None:
    for number in range(52):
        record(shop, **bought(START + number, "[]", f"o{number}"))
    lines = fields(shop)["O"].split("\n")
    assert (len(lines), lines[0][:LENGTH], lines[-1][:LENGTH]) == (50, at(START + 51, ORDER), at(START + 2, ORDER))
    record(shop, **bought(START + 60, "x" * 16_400, "huge"))
    assert [line.split("\t")[0].split()[1] for line in fields(shop)["O"].split("\n")] == ["huge"]
    record(shop, **bought(START + 61, "y", "next"))
    assert [line.split("\t")[0].split()[1] for line in fields(shop)["O"].split("\n")] == ["next"]


def test_an_order_takes_only_lines_along_that_are_older_than_its_slack(shop: Redis) -> None:
    record(shop, lines=[("p1", at(START), "+1", "{}"), ("p2", at(START - 1), "+1", "{}")])
    record(shop, **bought(START + 2 * DAY, "[]"))
    assert ("+p1" in fields(shop), "+p2" in fields(shop)) == (True, False)


def test_a_linked_device_lives_as_long_as_a_person_and_its_events_move_the_root_on(shop: Redis) -> None:
    record(shop, id="ad1", trail="{}")
    assert link(shop, "uada").split() == ["ok", "uada", "merged"]
    for key in (DEVICE, f"{DEVICE}:ev"):
        assert shop.pttl(key) > 179 * DAY
    assert (fields(shop, DEVICE)["to"], fields(shop)["ids"]) == ("uada", "ad1")
    shop.pexpire(DEVICE, 40 * DAY)
    revision = int(fields(shop)["rev"])
    assert record(shop, id="ad1", now=START + DAY).split() == ["ok", "uada"]
    assert int(fields(shop)["rev"]) == revision + 1
    assert shop.pttl(DEVICE) > 179 * DAY


def test_a_link_moves_timers_parked_sends_and_what_was_known_of_mails(shop: Redis) -> None:
    record(shop, id="ad1", regs=[("m:view", at(START), "")], starts=[CART], trace="00-a")
    shop.hset(
        DEVICE, mapping={"b:cart": "7", "k:cart|p:ad1": "5 5", "k:confirmation|o:o1": "0 0", "parked": "1", "ls": START}
    )
    shop.hset(f"{SHOP}begun", "cart|p:ad1", 1)
    link(shop, "uada", START + 1)
    assert (due(shop, "cart|p:ad1"), due(shop, "cart|p:uada")) == (None, START + 30 * MINUTE)
    known = fields(shop)
    assert (known["f:cart"], known["b:cart"], known["p:cart"]) == (str(START + 30 * MINUTE), "7", "00-a")
    assert (known["k:cart|p:uada"], known["k:confirmation|o:o1"], known["parked"]) == ("5 5", "0 0", "1")
    assert (known["ls"], due(shop, "lookback|p:uada")) == (str(START), START + 1001)
    assert not {"f:cart", "b:cart", "p:cart", "k:cart|p:ad1", "parked", "ls"} & fields(shop, DEVICE).keys()
    assert not shop.exists(f"{SHOP}begun")


def test_a_leased_timer_moves_along_with_its_due(shop: Redis) -> None:
    record(shop, id="ad1", regs=[("m:view", at(START), "")], starts=[CART])
    fcall(shop, "claim_due", SHOP, START + HOUR, 9, 30_000)
    link(shop, "uada", START + 1)
    assert due(shop, "cart|p:uada") == START + 30 * MINUTE
    assert not shop.exists(f"{SHOP}leases", f"{SHOP}leased")


@pytest.mark.parametrize(("cut", "verdict"), [(START + 9, "ok"), (START + 5, "amb"), (START + 4, "amb")])
def test_a_device_is_nobodys_from_the_very_moment_of_the_second_login_on(shop: Redis, cut: int, verdict: str) -> None:
    record(shop, id="ad1")
    link(shop, "uada", START + 1)
    assert link(shop, "ubob", cut).split()[2] == "ambiguous"
    reply = record(shop, id="ad1", at=START + 5, now=START + 9, trail='["x"]', seen="x")
    assert reply.split()[0] == verdict
    assert trail(shop, DEVICE)[0][0] == verdict
    assert record(shop, id="ad1", at=START + 5, seen="x").split()[0] == "dup"
    assert fields(shop, DEVICE)["cut"] == stamp_time(cut)


def test_whoever_arrives_first_the_first_login_counts(shop: Redis) -> None:
    for users in (("uada", "ubob", "ueve"), ("ueve", "ubob", "uada")):
        shop.flushdb()
        moments = {"uada": START + 1, "ubob": START + 2, "ueve": START + 3}
        for user in users:
            record(shop, id=user, at=moments[user], links=[("ad1", user, False)], srv=True)
        device = fields(shop, DEVICE)
        assert (device["to"], device["cut"]) == ("uada", stamp_time(START + 2))
        assert (fields(shop)["ids"], "ids" in fields(shop, BOB)) == ("ad1", False)
        assert fields(shop, BOB)["met"] == "ad1"


def test_a_device_remembers_16_persons(shop: Redis) -> None:
    for number in range(18):
        link(shop, f"u{number}", START + number)
    assert sum(name.startswith("L:") for name in fields(shop, DEVICE)) == 16


def test_a_link_that_is_repeated_changes_nothing_and_an_older_one_does(shop: Redis) -> None:
    link(shop, "uada", START + 5)
    before = fields(shop, DEVICE)
    link(shop, "uada", START + 5)
    link(shop, "uada", START + 9)
    assert fields(shop, DEVICE) == before
    link(shop, "uada", START)
    assert fields(shop, DEVICE)["L:uada"] == at(START)


def test_a_device_that_was_only_linked_expires(shop: Redis) -> None:
    link(shop, "uada")
    assert 179 * DAY < shop.pttl(DEVICE) <= 180 * DAY


def test_that_a_device_is_shared_is_noticed_between_reading_and_claiming(shop: Redis) -> None:
    link(shop, "uada")
    before = int(fields(shop)["rev"])
    link(shop, "ubob", START + 1)
    assert int(fields(shop)["rev"]) > before


def test_an_older_link_of_the_same_device_attaches_nothing_anew(shop: Redis) -> None:
    for device in ("ad1", "ad2"):
        link(shop, "uada", START + 5, device)
    link(shop, "uada", START)
    assert fields(shop)["ids"] == "ad1 ad2"


def test_of_two_ids_of_one_person_the_first_login_counts(shop: Redis) -> None:
    for user, moment in (("uada", START + 1), ("ubob", START + 2), ("uada2", START + 3)):
        link(shop, user, moment)
    record(shop, at=START + 4, now=START + 4, links=[("uada2", "uada", False)])
    assert (fields(shop, DEVICE)["to"], fields(shop, DEVICE)["cut"]) == ("uada", stamp_time(START + 2))


def test_a_server_that_tells_of_a_users_second_page_claim_first_takes_the_device_away(shop: Redis) -> None:
    def claim(user: str, moment: int) -> None:
        record(shop, id="ad1", at=moment, now=moment, links=[("ad1", user, True)])

    claim("uada", START)
    claim("ubob", START + 1)
    # All that is known of bob is that a page claims a device for him.
    assert set(fields(shop, BOB)) == {"claimed", "met"}
    assert "unproven" not in fields(shop, DEVICE)
    record(shop, id="ubob", at=START + 2, now=START + 2, srv=True)
    assert fields(shop, DEVICE)["unproven"] == "1"


def test_a_new_user_whose_older_name_was_erased_since_is_known_to_a_server(shop: Redis) -> None:
    record(shop, id="uada", srv=True)
    record(shop, id="uada", at=START + 9, now=START + 9, **erasure(START + 9))
    assert record(shop, id="ubob", at=START + 5, links=[("uada", "ubob", False)], srv=True).split()[0] == "del"
    assert fields(shop, BOB)["srv"] == "1"
