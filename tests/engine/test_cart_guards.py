"""What one call of `fg_record` does to carts and purchases, each guard at its boundary."""

from __future__ import annotations

import pytest
from redis import Redis

from freshgate.state import store
from freshgate.state.stamps import LENGTH, ORDER
from tests.engine.test_record_guards import DAY, at, bought, fields, lines, record
from tests.engine.world import SHOP, START


@pytest.fixture
def shop(redis: Redis) -> Redis:
    store.load(redis)
    return redis


def test_a_line_counts_from_the_very_moment_of_the_clear_on(shop: Redis) -> None:
    record(shop, clear=at(START, "0"))
    for moment, known in ((START - 1, False), (START, True)):
        record(shop, lines=lines(("p1", moment, "+1")))
        assert ("+p1" in fields(shop)) == known
    record(shop, clear=at(START))
    assert (fields(shop)["+p1"], "n:p1" in fields(shop)) == (at(START) + "+1{p1@0}", False)
    record(shop, lines=lines(("p2", START, "+1")))
    assert (fields(shop)["+p2"], fields(shop)["nl"]) == (at(START) + "+1{p2@0}", "2")
    record(shop, clear=at(START, "2"))
    assert not {"+p1", "n:p1", "+p2", "n:p2"} & fields(shop).keys()
    assert (fields(shop)["cc"], fields(shop)["nl"]) == (at(START, "2"), "0")
    record(shop, clear=at(START - 5))
    assert fields(shop)["cc"] == at(START, "2")


def test_a_clear_keeps_lines_with_newer_changes(shop: Redis) -> None:
    record(shop, lines=lines(("p1", START, "+1")))
    record(shop, lines=[("p1", at(START + 9), "-1", "{}"), ("p2", at(START), "x", "{}")])
    record(shop, clear=at(START + 5))
    assert fields(shop)["+p1"] == at(START) + "+1{p1@0}"
    assert fields(shop)["n:p1"] == f"{at(START)}+1 {at(START + 9)}-1"
    assert (fields(shop)["nl"], "-p2" in fields(shop)) == ("1", False)


def test_the_newest_word_on_a_product_and_each_change_once(shop: Redis) -> None:
    for moment in (START, START + 5, START, START + 1):
        record(shop, lines=lines(("p1", moment, "+1")))
    assert fields(shop)["+p1"] == at(START + 5) + "{p1@5}"
    assert fields(shop)["n:p1"].split() == [at(START + step) + "+1" for step in (0, 1, 5)]
    record(shop, lines=lines(("p1", START + 7, "-1")))
    assert (fields(shop)["+p1"], fields(shop)["-p1"]) == (at(START + 5) + "{p1@5}", at(START + 7) + "{p1@7}")
    assert fields(shop)["nl"] == "1"


def test_a_cart_has_250_lines_and_a_full_one_takes_changes(shop: Redis) -> None:
    record(shop, lines=lines(*[(f"p{number}", START, "+1") for number in range(249)]))
    record(shop, lines=lines(("q1", START, "+1"), ("q2", START, "+1"), ("q3", START, "-1"), ("p1", START + 1, "+1")))
    known = fields(shop)
    # A removal of what was never added counts as a line, too, and has more room.
    assert (known["nl"], "+q1" in known, "+q2" in known, "-q3" in known) == ("251", True, False, True)
    assert known["n:p1"].count("+1") == 2
    assert sum(name.startswith("+") for name in known) == 250


def test_old_changes_of_a_line_are_added_up(shop: Redis) -> None:
    def quantity(changes: str) -> list[str]:
        return [entry[LENGTH:] for entry in changes.split()]

    amounts = ["+5", "x", "-1", "+2"] + ["+1"] * 57
    moments = [START + number for number in range(61)]
    for moment, amount in sorted(zip(moments[:60], amounts, strict=False), reverse=True):
        record(shop, lines=lines(("p1", moment, amount)))
    assert len(fields(shop)["n:p1"].split()) == 60
    record(shop, lines=lines(("p1", moments[60], "+1")))
    changes = fields(shop)["n:p1"]
    assert quantity(changes) == ["+29"] + ["+1"] * 30
    assert changes.split()[0][:LENGTH] == at(START + 30)
    assert changes.split()[1][:LENGTH] == at(START + 31)


def test_an_order_told_again_is_the_same_purchase_by_its_first_telling(shop: Redis) -> None:
    record(shop, **bought(START, '["p1"]'), order=("o1", [], [], DAY))
    assert 399 * DAY < shop.pttl(f"{SHOP}once:o1") <= 400 * DAY
    record(shop, **bought(START + 9, '["p1","p2"]'), order=("o1", [], [], DAY))
    record(shop, **bought(START + 9, "[]"), order=("o1", [], [], DAY))
    assert fields(shop)["O"] == f'{at(START, ORDER)} o1\t["p1","p2"]'
    record(shop, **bought(START - 9, '["p1"]'), order=("o1", [], [], DAY))
    assert fields(shop)["O"] == f'{at(START - 9, ORDER)} o1\t["p1","p2"]'
    assert shop.get(f"{SHOP}once:o1") == at(START - 9, ORDER).encode()
    assert 399 * DAY < shop.pttl(f"{SHOP}once:o1") <= 400 * DAY


def test_an_order_starts_a_persons_mail_by_its_first_telling_only(shop: Redis) -> None:
    thanks = [("thanks", "p", "m:order", 0, 0)]
    record(shop, starts=thanks, order=("o1", [], [], DAY), **bought(START, "[]"))
    assert shop.zrem(f"{SHOP}timers:thanks", "thanks|p:uada") == 1
    record(shop, starts=thanks, order=("o1", [], [], DAY), **bought(START + 9, "[]"))
    assert not shop.exists(f"{SHOP}timers:thanks")


def test_an_order_that_a_page_tells_twice_is_one_purchase_by_its_first_telling(shop: Redis) -> None:
    for moment in (START, START - 9, START + 9):
        record(shop, **bought(moment, "[]"))
    assert fields(shop)["O"] == f"{at(START - 9, ORDER)} o1\t[]"
