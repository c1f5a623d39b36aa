"""What a decision reads and a replay writes, call by call; and how due timers are shared out."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import msgpack
from redis import Redis

from freshgate.state import keys, store
from freshgate.state.stamps import stamp, stamp_time
from freshgate.state.store import fcall
from tests.engine.test_guards import KEY, MAILS, OWNER, TIMER, claims, due, settle
from tests.engine.world import MINUTE, SHOP, START

ORDERS, DEVICE = f"{SHOP}o:o1", f"{SHOP}p:ad1"


@pytest.fixture
def shop(redis: Redis) -> Redis:
    store.load(redis)
    return redis


def read(shop: Redis, timer: str) -> Any:
    """(timer, due, root, ids of the records, number of addresses) of one send."""
    timer, due, root, records, _, addresses, _ = fcall(shop, "read", SHOP, START, timer)[2]
    return timer, due, root, [record_id for record_id, _ in records], len(addresses)


def replay(shop: Redis, expected: str = "dead") -> bytes:
    body = {
        "owner": OWNER,
        "field": "c:cart",
        "send": "s1",
        "timer": TIMER,
        "expected": expected,
        "claim": "replay t 0 0 0 -",
    }
    return fcall(shop, "replay", SHOP, START, msgpack.encode(body))


def lists(shop: Redis) -> list[str]:
    return [name for name in ("unknown", "dead", "rejected") if shop.exists(f"{SHOP}list:{name}")]


def test_another_sends_claim_is_not_this_ones(shop: Redis) -> None:
    shop.hset(KEY, "c:cart", "s2 claimed t2 9 9 0 -\ns1 claimed t1 9 9 0 -")
    assert settle(shop, field="c:cart", send="s1", token="t1", claim="sent t1 9 9 0 -", keep=9) == b"1"
    assert claims(shop) == ["s1 sent t1 9 9 0 -", "s2 claimed t2 9 9 0 -"]


def test_repetitions_are_counted_in_one_line_among_the_newest_five(shop: Redis) -> None:
    def note(same: str, text: str) -> list[str]:
        settle(shop, note=("pada", same, text))
        raw: Any = shop.lrange(f"{KEY}:dec", 0, -1)
        return [line.decode() for line in raw]

    note("", "a")
    assert note("", "b") == ["1\t\tb", "1\t\ta"]
    note("moved", "1")
    note("", "c")
    assert note("moved", "2") == ["1\t\tc", "2\tmoved\t2", "1\t\tb", "1\t\ta"]
    for number in range(110):
        entries = note("", str(number))
    assert len(entries) == 100
    assert shop.pttl(f"{KEY}:dec") > 179 * 24 * 60 * MINUTE


def test_a_timer_of_an_id_that_joined_a_person_ends_under_both_names(shop: Redis) -> None:
    shop.hset(DEVICE, "to", "pada")
    old = "cart|p:ad1"
    for name in (old, TIMER):
        shop.zadd(keys.timers("main", "cart"), {name: 5})
    settle(shop, timer=old, due="5")
    assert not shop.exists(keys.timers("main", "cart"))
    shop.zadd(keys.timers("main", "cart"), {old: 5})
    settle(shop, timer=old, due="5", next=9)
    assert (due(shop), shop.zscore(keys.timers("main", "cart"), old)) == (9, None)


@pytest.mark.parametrize(
    ("state", "expected", "reply"),
    [
        ("dead", "dead", b"1"), ("unknown", "unknown", b"1"), ("sent", "unknown", b"sent"),
        ("unknown", "dead", b"unknown"),
        ("", "dead", b"1"), ("", "unknown", b"gone"), ("", "rejected", b"gone"),
    ],
)  # fmt: skip
def test_a_replay_acts_on_the_state_that_is_there(shop: Redis, state: str, expected: str, reply: bytes) -> None:
    shop.hset(KEY, "rev", 3)
    if state:
        shop.hset(KEY, "c:cart", f"s1 {state} t 0 0 0 -")
    shop.zadd(f"{SHOP}list:{expected}", {f"{OWNER} {TIMER} c:cart s1": 1})
    shop.zadd(keys.timers("main", "cart"), {TIMER: START + MINUTE})
    shop.sadd(f"{SHOP}triggers", "cart")
    assert replay(shop, expected) == reply
    if reply == b"1":
        assert (claims(shop), shop.hget(KEY, "rev"), lists(shop)) == (["s1 replay t 0 0 0 -"], b"4", [])
        assert due(shop) == START
    else:
        assert (shop.hget(KEY, "rev"), due(shop)) == (b"3", START + MINUTE)
        assert lists(shop) == ([state] if state == "unknown" else [])


def test_a_replay_sets_a_timer_where_there_is_none_and_moves_none_back(shop: Redis) -> None:
    shop.zadd(keys.timers("main", "cart"), {TIMER: START - MINUTE})
    replay(shop)
    assert due(shop) == START - MINUTE
    shop.delete(keys.timers("main", "cart"), KEY)
    assert replay(shop) == b"1"
    assert due(shop) == START


def test_who_bought_an_order(shop: Redis) -> None:
    def buyer() -> bytes:
        return fcall(shop, "read", SHOP, START, "confirmation|o:o1")[2][2]

    shop.hset(
        ORDERS, mapping={"w:ad1": stamp(START, "m"), "w:abob": stamp(START + 9, "m"), "w:az": stamp(START + 5, "m")}
    )
    shop.hset(f"{SHOP}p:az", "cut", stamp_time(START))
    assert buyer() == b"ad1"
    for cut, root in ((START + 1, b"ad1"), (START, b"abob"), (START - 1, b"abob")):
        shop.hset(DEVICE, "cut", stamp_time(cut))
        assert buyer() == root
    # Who is named outweighs whose device it was.
    shop.hset(ORDERS, "w:ubob", stamp(START + 20, "m"))
    assert buyer() == b"ubob"
    shop.hdel(ORDERS, "w:abob", "w:ubob")
    assert buyer() == b""
    shop.delete(f"{SHOP}p:az")
    assert buyer() == b"az"


def test_a_send_is_read_under_the_roots_name_and_its_timer_moves_along(shop: Redis) -> None:
    shop.hset(DEVICE, mapping={"to": "pada", "rx": 1})
    shop.hset(KEY, mapping={"ids": "ad1", "rx": 1})
    shop.zadd(keys.timers("main", "cart"), {"cart|p:ad1": 5})
    assert read(shop, "cart|p:ad1") == (TIMER.encode(), b"5", b"pada", [b"pada", b"ad1"], 0)
    assert (due(shop), shop.zcard(keys.timers("main", "cart"))) == (5, 1)
    assert read(shop, TIMER) == (TIMER.encode(), b"5", b"pada", [b"pada", b"ad1"], 0)
    assert read(shop, "cart|p:ubob") == (b"cart|p:ubob", b"", b"ubob", [b"ubob"], 0)


def test_a_leased_send_has_the_due_of_its_lease(shop: Redis) -> None:
    shop.hset(f"{SHOP}leased", TIMER, 7)
    assert read(shop, TIMER)[1] == b"7"


def test_at_most_eight_addresses_are_read_with_a_person(shop: Redis) -> None:
    shop.hset(MAILS, "x", "1")
    shop.hset(KEY, "A:email", stamp(START, "m") + "a1")
    assert read(shop, TIMER)[4] == 1
    shop.hset(KEY, mapping={f"A:{number}": stamp(START, "m") + f"a{number}" for number in range(20)})
    assert read(shop, TIMER)[4] == 8


def test_gaps_are_read_and_unknown_ids_found_to_be_nobody(shop: Redis) -> None:
    assert fcall(shop, "read", SHOP, START)[1] == b""
    shop.set(f"{SHOP}gap", START)
    assert fcall(shop, "read", SHOP, START) == [str(START).encode(), str(START).encode()]
    shop.hset(DEVICE, "to", "pada")
    assert fcall(shop, "find", SHOP, "pada", "ad1", "ubob") == [b"", b"", b""]
    shop.hset(KEY, "rev", 1)
    assert fcall(shop, "find", SHOP, "pada", "ad1", "ubob") == [b"pada", b"pada", b""]


def claim_due(shop: Redis, now: int, limit: int, lease: int = MINUTE) -> Any:
    return fcall(shop, "claim_due", SHOP, now, limit, lease)


def put(shop: Redis, trigger: str, *dues: int) -> None:
    shop.sadd(f"{SHOP}triggers", trigger)
    shop.zadd(keys.timers("main", trigger), {f"{trigger}|p:u{number}": at for number, at in enumerate(dues)})


def test_a_timer_is_leased_once_when_it_is_due_and_comes_back_when_the_lease_ends(shop: Redis) -> None:
    put(shop, "cart", START)
    name = b"cart|p:u0"
    assert claim_due(shop, START - 1, 9) == [str(START - 1).encode(), str(START).encode()]
    assert claim_due(shop, START, 9)[2:] == [name, str(START).encode(), 0]
    assert not shop.exists(keys.timers("main", "cart"), f"{SHOP}triggers")
    # An event sets it anew while it is leased: it waits for the lease's end.
    put(shop, "cart", START + 5)
    assert claim_due(shop, START + MINUTE - 1, 9)[2:] == []
    assert claim_due(shop, START + MINUTE, 9)[2:] == [name, str(START + 5).encode(), 1]
    shop.delete(f"{SHOP}begun")
    claim_due(shop, START + 2 * MINUTE, 0)
    assert not shop.exists(f"{SHOP}leases", f"{SHOP}leased")
    shop.delete(f"{SHOP}begun")
    put(shop, "cart", START + 5)
    assert claim_due(shop, START + 2 * MINUTE, 9)[2:] == [name, str(START + 5).encode(), 0]
    claim_due(shop, START + 3 * MINUTE, 0)
    shop.delete(f"{SHOP}begun")
    shop.hset(f"{SHOP}leased", "cart|p:u0", START + 5)
    shop.zadd(f"{SHOP}leases", {"cart|p:u0": START + 2 * MINUTE})
    shop.delete(keys.timers("main", "cart"))
    assert claim_due(shop, START + 2 * MINUTE, 9)[2:] == [name, str(START + 5).encode(), 1]
    assert shop.hget(f"{SHOP}begun", "cart|p:u0") == b"0"


def test_each_trigger_gets_its_share_and_what_it_does_not_need_is_for_the_others(shop: Redis) -> None:
    put(shop, "cart", *range(START, START + 50))
    put(shop, "welcome", START)
    put(shop, "browse", START + MINUTE)
    reply = claim_due(shop, START + 50, 10)
    names = [name.decode().partition("|")[0] for name in reply[2::3]]
    assert "welcome" in names
    assert 3 <= names.count("cart") <= 9
    assert len(names) <= 10
    shop.flushdb()
    put(shop, "cart", *range(START, START + 50))
    assert len(claim_due(shop, START + 50, 10)[2:]) == 30
    assert claim_due(shop, START + 50, 0) == [str(START + 50).encode(), str(START + 10).encode()]


def test_the_next_due_is_that_of_the_first_timer_of_any_trigger(shop: Redis) -> None:
    for number in (3, 1, 2, 5, 4):
        put(shop, f"t{number}", START + number)
    assert claim_due(shop, START, 9) == [str(START).encode(), str(START + 1).encode()]


def test_a_call_leases_as_many_as_it_was_asked_for(shop: Redis) -> None:
    for trigger in ("cart", "welcome", "browse"):
        put(shop, trigger, *range(START, START + 50))
    names = [name.decode().partition("|")[0] for name in claim_due(shop, START + 50, 10)[2::3]]
    assert sorted(names.count(trigger) for trigger in ("cart", "welcome", "browse")) == [3, 3, 4]
