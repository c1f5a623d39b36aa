"""The guards of claim and settle, each called by itself: what a racing worker or a late answer may do."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import msgpack
from redis import Redis

from freshgate.state import keys, store
from freshgate.state.store import fcall
from tests.engine.world import HOUR, MINUTE, SHOP, START

DAY = 24 * HOUR
TIMER = "cart|p:pada"
OWNER = "p:pada"
KEY = f"{SHOP}{OWNER}"
MAILS = f"{SHOP}a:a1"
TIMERS = keys.timers("main", "cart")


@pytest.fixture
def shop(redis: Redis) -> Redis:
    store.load(redis)
    return redis


def claim(shop: Redis, send: str = "s1", *, now: int = START, keep: int = 3, **parts: Any) -> bytes:
    body = {"owner": OWNER, "field": "c:cart", "send": send, "claim": "claimed t1 9 9 0 -", "keep": keep, "reads": []}
    body["before"] = now + 1
    return fcall(shop, "claim", SHOP, now, msgpack.encode(body | parts))[1]


def settle(shop: Redis, *, now: int = START, **parts: Any) -> bytes:
    return fcall(shop, "settle", SHOP, now, msgpack.encode({"owner": OWNER} | parts))


def settle_claim(shop: Redis, text: str, token: str = "t1", **parts: Any) -> bytes:
    return settle(shop, field="c:cart", send="s1", token=token, claim=text, keep=3, timer=TIMER, due="5", **parts)


def claims(shop: Redis) -> list[str]:
    raw: Any = shop.hget(KEY, "c:cart")
    return (raw or b"").decode().split("\n")


def due(shop: Redis) -> float | None:
    score: Any = shop.zscore(TIMERS, TIMER)
    return score


def count(shop: Redis, of_all: tuple[Any, ...], own: tuple[int, ...], send: str, **parts: Any) -> bytes:
    trigger = parts.pop("trigger", "cart")
    return claim(shop, send, address=("a1", trigger, of_all, own), **parts)


def test_a_claim_needs_every_record_as_it_was_read(shop: Redis) -> None:
    shop.hset(KEY, "rev", 4)
    assert claim(shop, reads=[(OWNER, "3")]) == b"moved"
    assert claim(shop, reads=[(OWNER, "4"), ("a:a1", "1")]) == b"moved"
    assert shop.hget(KEY, "c:cart") is None
    assert claim(shop, reads=[(OWNER, "4"), ("a:a1", "0")]) == b"ok"
    assert shop.hget(KEY, "rev") == b"5"
    assert claim(shop, reads=[(OWNER, "4")]) == b"moved"
    shop.hset(KEY, "to", "pbob")
    assert claim(shop, reads=[(OWNER, "5")]) == b"moved"


def test_a_claim_that_its_worker_has_given_up_is_not_written(shop: Redis) -> None:
    assert claim(shop, before=START) == b"moved"
    assert shop.hget(KEY, "c:cart") is None
    assert claim(shop, before=START + 1) == b"ok"


def test_a_claim_on_a_new_record_gives_it_a_life(shop: Redis) -> None:
    assert claim(shop) == b"ok"
    assert 179 * DAY < shop.pttl(KEY) <= 180 * DAY
    shop.pexpire(KEY, 5 * DAY)
    claim(shop)
    assert shop.pttl(KEY) <= 5 * DAY


def test_what_is_over_is_remembered_up_to_a_bound_and_what_is_open_for_ever(shop: Redis) -> None:
    states = ["retry", "claimed", "replay", "sent", "dead", "unknown"]
    shop.hset(KEY, "c:cart", "\n".join(f"s{number} {state} t 0 0 0 -" for number, state in enumerate(states, 2)))
    claim(shop, keep=4)
    assert claims(shop) == [
        "s1 claimed t1 9 9 0 -", "s2 retry t 0 0 0 -", "s3 claimed t 0 0 0 -", "s4 replay t 0 0 0 -",
    ]  # fmt: skip
    shop.hset(KEY, "c:cart", "\n".join(f"s{number} {state} t 0 0 0 -" for number, state in enumerate(states, 2)))
    claim(shop, keep=1)
    assert [line[:2] for line in claims(shop)] == ["s1", "s2", "s3", "s4"]
    claim(shop, claim="claimed t2 9 9 0 -")
    assert [line for line in claims(shop) if line.startswith("s1")] == ["s1 claimed t2 9 9 0 -"]


def test_of_more_subjects_than_are_kept_the_oldest_claim_goes_but_never_an_open_one(shop: Redis) -> None:
    shop.hset(KEY, "c:cart#s0", "x claimed t 9 1 0 -")
    for number in (3, 2, *range(4, 51)):
        shop.hset(KEY, f"c:cart#s{number}", f"x sent t 9 {number} 0 -")
    assert claim(shop, field="c:cart#s51", claim="claimed t1 9 51 0 -") == b"ok"
    raw: Any = shop.hkeys(KEY)
    known = {field.decode() for field in raw if field.startswith(b"c:")}
    assert known == {"c:cart#s0", *(f"c:cart#s{number}" for number in range(3, 52))}


def test_the_cap_of_an_address_at_its_boundaries(shop: Redis) -> None:
    of_all = (2, HOUR, True)
    assert [count(shop, of_all, (), send) for send in ("s1", "s2", "s3")] == [b"ok", b"ok", b"capped"]
    assert shop.hget(MAILS, "mails") == f"{START} s2 cart;{START} s1 cart".encode()
    assert count(shop, of_all, (), "s3", now=START + HOUR - 1) == b"capped"
    assert count(shop, of_all, (), "s3", now=START + HOUR) == b"ok"
    assert count(shop, of_all, (), "s2", now=START + HOUR) == b"ok"


def test_a_send_does_not_count_against_itself(shop: Redis) -> None:
    assert [count(shop, (1, HOUR, True), (1, HOUR), "s1") for _ in range(2)] == [b"ok", b"ok"]
    assert shop.hget(MAILS, "mails") == f"{START} s1 cart".encode()


def test_a_triggers_own_cap_of_an_address_counts_its_own_mails(shop: Redis) -> None:
    loose = (9, HOUR, True)
    assert count(shop, loose, (1, HOUR), "s1", trigger="welcome") == b"ok"
    assert [count(shop, loose, (1, HOUR), send) for send in ("s2", "s3")] == [b"ok", b"capped"]
    assert count(shop, loose, (1, HOUR), "s3", now=START + HOUR - 1) == b"capped"
    assert count(shop, loose, (1, HOUR), "s3", now=START + HOUR) == b"ok"
    assert count(shop, (1, HOUR, False), (), "s4") == b"ok"
    assert count(shop, (1, HOUR, False), (), "s5") == b"ok"


def test_as_many_mails_of_an_address_are_remembered_as_its_cap_needs(shop: Redis) -> None:
    def remembered(limit: int) -> int:
        shop.delete(MAILS)
        for number in range(60):
            count(shop, (limit, HOUR, False), (), f"s{number}")
        raw: Any = shop.hget(MAILS, "mails")
        return len(raw.split(b";"))

    assert (remembered(1), remembered(55)) == (50, 55)


def test_how_long_an_address_that_no_event_named_is_remembered(shop: Redis) -> None:
    for of_all, own, ttl in (
        ((1, HOUR, True), (), 2 * DAY), ((1, 3 * DAY, True), (), 3 * DAY), ((1, HOUR, True), (1, 4 * DAY), 4 * DAY),
    ):  # fmt: skip
        shop.delete(MAILS)
        count(shop, of_all, own, "s1")
        assert ttl - MINUTE < shop.pttl(MAILS) <= ttl
    shop.delete(MAILS)
    shop.hset(MAILS, "x", "forever")
    count(shop, (1, HOUR, True), (), "s1")
    assert shop.pttl(MAILS) == -1


def test_only_who_holds_the_claim_settles_it(shop: Redis) -> None:
    claim(shop)
    shop.zadd(TIMERS, {TIMER: 5})
    assert settle_claim(shop, "sent other 9 9 0 -", token="other", list="unknown", note=("pada", "", "{}")) == b"0"
    assert claims(shop) == ["s1 claimed t1 9 9 0 -"]
    assert (due(shop), shop.exists(f"{KEY}:dec"), shop.exists(f"{SHOP}list:unknown")) == (5, 0, 0)
    assert settle_claim(shop, "sent t1 9 9 0 -") == b"1"
    assert claims(shop) == ["s1 sent t1 9 9 0 -"]
    assert (due(shop), shop.hget(KEY, "rev"), shop.hget(KEY, "ls")) == (None, b"2", str(START).encode())


def test_a_fallback_that_left_is_looked_back_at(shop: Redis) -> None:
    claim(shop)
    settle_claim(shop, "fallback_sent t1 9 9 0 -")
    assert shop.hget(KEY, "ls") == str(START).encode()


def test_what_was_not_sent_is_not_looked_back_at(shop: Redis) -> None:
    claim(shop)
    settle_claim(shop, "dead t1 9 9 0 -")
    assert shop.hget(KEY, "ls") is None


def test_a_claim_that_is_given_back_is_gone(shop: Redis) -> None:
    claim(shop)
    settle_claim(shop, "")
    assert shop.hget(KEY, "c:cart") is None


def test_settling_does_not_bring_an_expired_record_back(shop: Redis) -> None:
    assert settle_claim(shop, "sent t1 9 9 0 -") == b"1"
    assert not shop.exists(KEY)


def test_settling_takes_only_what_was_claimed(shop: Redis) -> None:
    for at_due, claimed, following, result in (
        (5, "5", None, None), (7, "5", None, 7), (5, "5", 9, 9), (7, "5", 6, 7), (None, "5", 9, 9),
    ):  # fmt: skip
        shop.delete(TIMERS)
        shop.hset(KEY, mapping={"f:cart": 5, "b:cart": 5, "p:cart": "t"})
        if at_due:
            shop.zadd(TIMERS, {TIMER: at_due})
        settle(shop, timer=TIMER, due=claimed, failed=False, **({"next": following} if following else {}))
        assert due(shop) == result
        assert shop.hmget(KEY, "f:cart", "b:cart", "p:cart") == ([b"5", b"5", b"t"] if result else [None] * 3)


def test_settling_ends_its_own_lease_alone(shop: Redis) -> None:
    shop.hset(f"{SHOP}leased", TIMER, "7")
    shop.zadd(f"{SHOP}leases", {TIMER: START})
    settle(shop, timer=TIMER, due="5")
    assert (shop.hget(f"{SHOP}leased", TIMER), shop.zscore(f"{SHOP}leases", TIMER)) == (b"7", START)
    settle(shop, timer=TIMER, due="7")
    assert not shop.exists(f"{SHOP}leased", f"{SHOP}leases")


def test_who_settles_has_survived_and_our_own_fault_stays_counted(shop: Redis) -> None:
    started = f"{SHOP}begun"
    shop.hset(started, TIMER, 2)
    settle(shop, timer=TIMER, due="5", failed=True)
    assert shop.hget(started, TIMER) == b"2"
    settle(shop, timer=TIMER, due="5", failed=False)
    assert shop.hget(started, TIMER) is None
    settle(shop, timer=TIMER, due="5", failed=True)
    assert shop.hget(started, TIMER) == b"0"


@pytest.mark.parametrize("state", ["unknown", "dead", "rejected"])
def test_the_operators_list_and_the_trace_follow_the_state(shop: Redis, state: str) -> None:
    def lists() -> list[str]:
        return [name for name in ("unknown", "dead", "rejected") if shop.exists(f"{SHOP}list:{name}")]

    for end in (state, "sent"):
        shop.hset(KEY, mapping={"p:cart": "trace", "c:cart": "s1 claimed t1 9 9 0 -"})
        settle_claim(shop, f"{end} t1 9 9 0 -", list=end)
        assert lists() == ([state] if end == state else [])
        assert shop.hget(KEY, "p:cart") == (b"trace" if end == state else None)


def test_a_send_is_parked_on_the_state_that_was_read(shop: Redis) -> None:
    shop.hset(KEY, "rev", 3)
    park: dict[str, Any] = {"park": ("k:cart|p:pada", "5 5"), "timer": TIMER, "due": "5", "next": 9}
    assert settle(shop, revision="2", **park) == b"0"
    assert (shop.hget(KEY, "parked"), due(shop)) == (None, None)
    assert settle(shop, revision="3", **park) == b"1"
    assert (shop.hmget(KEY, "parked", "k:cart|p:pada"), due(shop)) == ([b"1", b"5 5"], 9)
    assert settle(shop, revision="0", owner="p:pbob") == b"1"


def test_only_an_attempts_own_mail_is_taken_from_the_count(shop: Redis) -> None:
    shop.hset(MAILS, "mails", "9 s1 cart;8 s1 cart;9 s2 cart")
    settle(shop, send="s1", uncount=("a1", 9))
    assert shop.hget(MAILS, "mails") == b"8 s1 cart;9 s2 cart"
    shop.hset(MAILS, "mails", "9 s1 cart")
    settle(shop, send="s1")
    assert shop.hexists(MAILS, "mails")
    settle(shop, send="s1", uncount=("a1", 9))
    assert not shop.exists(MAILS)
