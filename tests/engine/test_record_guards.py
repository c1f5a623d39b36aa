"""What one call of `fg_record` writes to registers, carts, orders and timers, each guard at its boundary."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import msgpack
from redis import Redis

from freshgate.state import keys, store
from freshgate.state.stamps import ORDER, stamp
from freshgate.state.store import fcall
from freshgate.state.wire import pack_event
from tests.engine.world import HOUR, MINUTE, SHOP, START

DAY = 24 * HOUR
ADA = f"{SHOP}p:uada"
ORDERS = f"{SHOP}o:o1"
ADDRESS = f"{SHOP}a:a1"
CART = ("cart", "p", "m:view", 30 * MINUTE, 2 * MINUTE)
WELCOME = ("welcome", "p", "m:view", 0, 0)
CONFIRMATION = ("confirmation", "o", "m:order", 0, 0)


@pytest.fixture
def shop(redis: Redis) -> Redis:
    store.load(redis)
    return redis


def at(moment: int, rank: str = "1") -> str:
    return stamp(moment, "m", rank)


def record(shop: Redis, *, at: int = START, now: int = START, gap: str = "", limits: Any = None, **body: Any) -> str:
    """Records one event of uada, or of `id`; returns the reply without Redis' time."""
    event = {"at": at, "stamp": stamp(at, "m"), "id": "uada", "ttl": 30 * DAY} | body
    event = {name: value for name, value in event.items() if value is not None}
    packed_limits = msgpack.encode(limits) if limits else ""
    return fcall(shop, "record", SHOP, now, gap, packed_limits, pack_event(event))[1].decode()


def fields(shop: Redis, key: str = ADA) -> dict[str, str]:
    raw: Any = shop.hgetall(key)
    return {name.decode(): value.decode() for name, value in raw.items()}


def trail(shop: Redis, key: str = ADA) -> list[list[str]]:
    raw: Any = shop.lrange(f"{key}:ev", 0, -1)
    return [line.decode().split("\t") for line in raw]


def due(shop: Redis, timer: str) -> Any:
    return shop.zscore(keys.timers("main", timer.partition("|")[0]), timer)


def lines(*changes: tuple[str, int, str]) -> list[tuple[str, str, str, str]]:
    return [(line, at(moment), amount, f"{{{line}@{moment - START}}}") for line, moment, amount in changes]


def test_the_newest_register_wins_and_the_same_is_no_news(shop: Redis) -> None:
    record(shop, regs=[("m:view", at(START), "b")], starts=[WELCOME])
    shop.delete(f"{SHOP}timers:welcome")
    record(shop, regs=[("m:view", at(START), "c")], starts=[WELCOME])
    record(shop, regs=[("m:view", at(START - 1), "a")], starts=[WELCOME])
    assert (fields(shop)["m:view"], due(shop, "welcome|p:uada")) == (at(START) + "b", None)
    record(shop, regs=[("m:view", at(START + 1), "d")], starts=[WELCOME])
    assert (fields(shop)["m:view"], due(shop, "welcome|p:uada")) == (at(START + 1) + "d", START + 20_000)


def test_each_event_moves_the_revision_and_the_newest_arrival_on(shop: Redis) -> None:
    record(shop, now=START + 9)
    record(shop, now=START)
    assert (fields(shop)["rev"], fields(shop)["rx"]) == ("2", str(START + 9))


def test_a_record_and_its_trail_live_as_long_as_events_come(shop: Redis) -> None:
    record(shop, trail="{}")
    for key in (ADA, f"{ADA}:ev"):
        assert 30 * DAY - MINUTE < shop.pttl(key) <= 30 * DAY
        shop.pexpire(key, DAY)
    record(shop, now=START + MINUTE)
    assert shop.pttl(ADA) <= DAY
    record(shop, now=START + DAY)
    assert shop.pttl(ADA) > 29 * DAY
    assert shop.pttl(f"{ADA}:ev") > 29 * DAY


def test_an_opt_out_by_address_never_expires_and_no_later_event_changes_that(shop: Redis) -> None:
    record(shop, addresses=[("a1", [("h:uada", at(START), "")], 180 * DAY)])
    assert shop.pttl(ADDRESS) > 179 * DAY
    record(shop, addresses=[("a1", [("m:spam", at(START), "")], 0)])
    assert (shop.pttl(ADDRESS), fields(shop, ADDRESS)["x"]) == (-1, "forever")
    record(shop, now=START + 2 * DAY, addresses=[("a1", [("h:ubob", at(START + 1), "")], 180 * DAY)])
    assert (shop.pttl(ADDRESS), fields(shop, ADDRESS)["h:ubob"]) == (-1, at(START + 1))


def test_an_addresss_revision_moves_on_with_its_registers_only(shop: Redis) -> None:
    for moment, revision in ((0, "1"), (0, "1"), (1, "2")):
        record(shop, addresses=[("a1", [("m:spam", at(START + moment), "")], 0)])
        assert fields(shop, ADDRESS)["rev"] == revision


def test_the_trail_keeps_the_newest_200(shop: Redis) -> None:
    for number in range(202):
        record(shop, trail=str(number))
    entries = trail(shop)
    assert (len(entries), entries[0], entries[-1][2]) == (200, ["ok", "", "201"], "2")


def test_a_message_is_known_for_a_day_at_least(shop: Redis) -> None:
    evening = START // DAY * DAY + DAY - 1
    assert record(shop, now=evening, seen="m1", trail='["m1"]').startswith("ok")
    for later, verdict in ((1, "dup"), (DAY, "dup"), (DAY + 1, "ok")):
        message = f"m{later}"
        record(shop, now=evening, seen=message)
        reply = record(shop, now=evening + later, seen=message, trail=f'["{message}"]')
        assert (reply.split()[0], trail(shop)[0][0]) == (verdict, verdict)
    assert record(shop, seen="m2", again=True).startswith("ok")
    assert record(shop, seen="m2", again=True).startswith("ok")
    ttls = [shop.ttl(key) for key in shop.keys(f"{SHOP}seen:*")]
    assert sorted(ttl > 47 * 3600 for ttl in ttls) == [True] * len(ttls)


def test_a_message_of_an_erased_person_is_not_remembered(shop: Redis) -> None:
    erasure: dict[str, Any] = {"del": START}
    record(shop, **erasure)
    assert record(shop, seen="m1").startswith("del")
    assert record(shop, seen="m1").startswith("del")
    assert [shop.smembers(key) for key in shop.keys(f"{SHOP}seen:*")] == [{b"0"}]


def test_repetitions_are_one_line_of_the_trail_and_create_none(shop: Redis) -> None:
    record(shop, seen="m1", trail='["m1"]')
    record(shop, seen="m2", trail='["m2"]')
    for _ in range(3):
        record(shop, seen="m1", trail='["m1"]')
    assert [line[0] for line in trail(shop)] == ["dup", "ok", "ok"]
    record(shop, seen="m1", trail='["m1"]', id="ubob")
    assert not shop.exists(f"{SHOP}p:ubob:ev")


def test_when_a_timer_is_due(shop: Redis) -> None:
    for moment, now, result in (
        (START, START, START + 30 * MINUTE),
        (START + MINUTE, START, START + 30 * MINUTE),
        (START - 29 * MINUTE, START, START + 2 * MINUTE),
        (START - 28 * MINUTE, START, START + 2 * MINUTE),
        (START - 27 * MINUTE, START, START + 3 * MINUTE),
    ):
        shop.flushdb()
        record(shop, at=moment, now=now, regs=[("m:view", at(moment), "")], starts=[CART], trace="00-a", trail="{}")
        assert due(shop, "cart|p:uada") == result
        assert shop.smembers(f"{SHOP}triggers") == {b"cart"}
        assert (fields(shop)["f:cart"], fields(shop)["p:cart"]) == (str(result), "00-a")
        assert trail(shop)[0][1] == f"cart set {result - moment}"


def test_a_newer_event_moves_a_timer_on_and_an_older_one_never_back(shop: Redis) -> None:
    record(shop, regs=[("m:view", at(START), "")], starts=[CART])
    later = START + MINUTE
    record(shop, at=later, now=later, regs=[("m:view", at(later), "")], starts=[CART])
    assert (due(shop, "cart|p:uada"), fields(shop)["f:cart"]) == (later + 30 * MINUTE, str(START + 30 * MINUTE))
    # A receiver's clock that is behind, or a shorter delay of a new catalog.
    shorter = ("cart", "p", "m:view", MINUTE, 0)
    record(shop, at=later + 1, now=START, regs=[("m:view", at(later + 1), "")], starts=[shorter])
    assert due(shop, "cart|p:uada") == later + 30 * MINUTE


def test_an_immediate_send_has_no_first_due(shop: Redis) -> None:
    record(shop, regs=[("m:view", at(START), "")], starts=[WELCOME])
    assert (fields(shop)["f:welcome"], "p:welcome" in fields(shop)) == ("0", False)


@pytest.mark.parametrize(("moment", "looks"), [(START - 1, True), (START, True), (START + 1, False)])
def test_what_occurred_up_to_a_mail_looks_back_at_it(shop: Redis, moment: int, looks: bool) -> None:
    shop.hset(ADA, "ls", START)
    shop.hset(ORDERS, "ls", START)
    record(shop, at=moment, now=START + MINUTE, order=("o1", [], [], DAY))
    expected = START + MINUTE + 1000 if looks else None
    assert (due(shop, "lookback|p:uada"), due(shop, "lookback|o:o1")) == (expected, expected)


def test_limits_at_their_boundary(shop: Redis) -> None:
    limit: list[Any] = ["rate", f"{SHOP}limit", 2, MINUTE, 1, []]
    assert [record(shop, limits=[limit])[:2] for _ in range(2)] == ["ok", "ok"]
    shop.pexpire(f"{SHOP}limit", 30_000)
    name, remaining = record(shop, limits=[limit]).split()[1:]
    assert (name, 20_000 < int(remaining) <= 30_000) == ("rate", True)
    assert (shop.get(f"{SHOP}limit"), fields(shop)["rev"]) == (b"2", "2")
    shop.persist(f"{SHOP}limit")
    assert record(shop, limits=[limit]) == f"limited rate {MINUTE}"


def test_a_limit_of_members_lets_in_who_is_in(shop: Redis) -> None:
    def members(*names: str) -> str:
        return record(shop, limits=[["addresses", f"{SHOP}limit", 2, MINUTE, 1, names]])[:2]

    assert [members("a"), members("a", "b"), members("a", "b"), members("b", "c"), members("c")] == ["ok"] * 3 + [
        "li"
    ] * 2
    assert 0 < shop.pttl(f"{SHOP}limit") <= MINUTE
    shop.pexpire(f"{SHOP}limit", 5_000)
    members("a")
    assert shop.pttl(f"{SHOP}limit") <= 5_000
    shop.sadd(f"{SHOP}limit", "c")
    assert members("a") == "ok"


def test_a_gap_is_known_for_a_day(shop: Redis) -> None:
    record(shop)
    assert shop.get(f"{SHOP}gap") is None
    record(shop, gap="1", now=START + 5)
    assert shop.get(f"{SHOP}gap") == f"{START + 5} {START + 5}".encode()
    assert DAY - MINUTE < shop.pttl(f"{SHOP}gap") <= DAY


def bought(moment: int, products: str, order: str = "o1") -> dict[str, Any]:
    first = at(moment, ORDER)
    return {"at": moment, "bought": (order, first, products)}


def test_more_registers_than_one_command_takes_are_written(shop: Redis) -> None:
    record(shop, regs=[(f"t:{number}", at(START), "") for number in range(1200)])
    assert sum(name.startswith("t:") for name in fields(shop)) == 1200
