"""What the ledger remembers of sends, counts for addresses and writes on the trail."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from redis import ConnectionError as RedisConnectionError
from redis import Redis

from catalog import TRIGGERS
from freshgate.clock import now_ms
from freshgate.errors import EspError
from freshgate.state import keys
from freshgate.state.clock import RedisClock
from freshgate.state.records import Claim
from freshgate.state.stamps import stamp
from freshgate.state.views import PersonView
from freshgate.telemetry import metrics
from tests.engine.test_sends import count
from tests.engine.world import HOUR, MINUTE, SHOP, START, World, product
from workers.courier import Courier
from workers.gate import decide
from workers.ledger import Attempt, Ledger

ADA = "ada@example.com"
DAY = 24 * HOUR
TIMER = keys.timer("abandoned_cart", "p", keys.person_id("main", "ada"))


def carts(redis: Redis, *users: str, **changes: Any) -> World:
    """Each user left a cart half an hour ago and has Ada's address."""
    changes = {"address_cap": (9, DAY)} | changes
    world = World(redis, [replace(t, **changes) if t.name == "abandoned_cart" else t for t in TRIGGERS])
    for user in users or ("ada",):
        world.record(world.event("Product Added", user=user, email=ADA, product=product("a")))
    world.now = START + HOUR
    return world


@pytest.mark.parametrize(("cap", "remembered"), [(None, 20), ((3, MINUTE), 20), ((30, MINUTE), 31)])
def test_as_many_sends_are_remembered_as_duplicates_and_caps_need(
    redis: Redis, cap: tuple[int, int] | None, remembered: int
) -> None:
    world = carts(redis, cap=cap)
    key = f"{SHOP}p:{world.root('ada')}"
    older = stamp(START - DAY, "m")
    redis.hset(key, "c:abandoned_cart", "\n".join(f"s{number} sent t 0 {START} 0 {older}" for number in range(40)))
    world.deliver(TIMER)
    assert world.mails() == [("abandoned_cart", ADA)]
    assert len(world.person("ada").claims("abandoned_cart")) == remembered
    redis.hset(key, "c:abandoned_cart", "\n".join(f"s{number} sent t 0 {START} 0 {older}" for number in range(40)))
    # The settlement alone, of a claim that somebody forgot meanwhile.
    records = world.records(TIMER)
    claim = Claim("s0", "claimed", "t", 0, START, 0, older)
    ledger = Ledger(redis, "sendgrid", RedisClock(lambda: world.now))
    ledger.finish(world.triggers["abandoned_cart"], records, decide_now(world, records), claim, "sent", "p")
    ledger.flush()
    assert len(world.person("ada").claims("abandoned_cart")) == remembered


def decide_now(world: World, records: Any) -> Any:
    return decide(world.triggers["abandoned_cart"], records, world.now)


@pytest.mark.parametrize(("cap", "mails"), [((1, DAY), 1), ((2, DAY), 2), (None, 2)])
def test_a_triggers_own_cap_holds_for_an_address_whose_sends_were_read_at_once(
    redis: Redis, cap: tuple[int, int] | None, mails: int
) -> None:
    world = carts(redis, "ada", "bob", cap=cap)
    timers = [timer for timer, _ in world.due_timers(world.now) if timer.startswith("abandoned_cart")]
    world.deliver(*timers)
    assert len(world.mails()) == mails


@pytest.mark.parametrize(("kind", "mails"), [("marketing", 1), ("transactional", 2)])
def test_the_cap_of_all_triggers_holds_for_marketing_whose_sends_were_read_at_once(
    redis: Redis, kind: str, mails: int
) -> None:
    world = carts(redis, "ada", "bob", cap=None, address_cap=(1, DAY), kind=kind)
    world.deliver(*[timer for timer, _ in world.due_timers(world.now) if timer.startswith("abandoned_cart")])
    assert len(world.mails()) == mails


def test_a_claim_tells_the_worker_what_time_it_is(redis: Redis) -> None:
    world = carts(redis)
    records, clock = world.records(TIMER), RedisClock()
    clock.set(5)
    ledger = Ledger(redis, "sendgrid", clock)
    claim = Claim("s1", "claimed", "t", 0, now_ms(), 0, "")
    attempt = Attempt(world.triggers["abandoned_cart"], records, claim)
    assert ledger.claim([attempt]) == [True]
    assert clock.now() > START
    assert ledger.claim([attempt]) == [False]


@pytest.mark.parametrize(("age", "is_written"), [(999, True), (1000, False)])
def test_a_claim_that_reaches_redis_a_second_late_is_not_written(redis: Redis, age: int, is_written: bool) -> None:
    world = carts(redis)
    ledger = Ledger(redis, "sendgrid", RedisClock(lambda: world.now))
    claim = Claim("s1", "claimed", "t", 0, world.now - age, 0, "")
    assert ledger.claim([Attempt(world.triggers["abandoned_cart"], world.records(TIMER), claim)]) == [is_written]


def test_a_send_that_waits_for_its_account_says_until_when(redis: Redis) -> None:
    world = carts(redis)
    ledger = Ledger(redis, "sendgrid", RedisClock(lambda: world.now))
    ledger.wait(world.records(TIMER), world.now + MINUTE, "limited")
    ledger.flush()
    (line,) = world.decisions("ada")
    assert (line["state"], line["reason"], line["due"]) == ("waiting", "limited", world.now + MINUTE)


@pytest.mark.parametrize(("state", "account"), [("unknown", "sendgrid"), ("retry", "other"), ("rejected", "other")])
def test_an_unknown_send_names_the_account_that_may_have_it(redis: Redis, state: str, account: str) -> None:
    world = carts(redis)
    records, trigger = world.records(TIMER), world.triggers["abandoned_cart"]
    claim = Claim("s1", "claimed", "t", 0, world.now, 0, "", account="sendgrid")
    ledger = Ledger(redis, "sendgrid", RedisClock(lambda: world.now))
    ledger.finish(trigger, records, decide_now(world, records), claim, state, "503", possible_at="other")
    ledger.flush()
    assert [claim.account for claim in world.person("ada").claims("abandoned_cart")] == [account]


def test_nothing_is_noted_of_nobody(redis: Redis) -> None:
    world = carts(redis)
    records = world.records(TIMER)
    records.person = PersonView("", [])
    ledger = Ledger(redis, "sendgrid", RedisClock(lambda: world.now))
    ledger.note_failure(records, "poison")
    ledger.wait(records, world.now + MINUTE, "limited")
    ledger.flush()
    assert redis.keys("*:dec") == []
    assert dict(world.due_timers(START + DAY))[TIMER] == world.now + MINUTE


def test_the_same_decision_once_more_is_one_line_with_a_count(redis: Redis) -> None:
    world = carts(redis)
    world.record(world.event("Unsubscribed", user="ada", email=ADA))
    for _ in range(3):
        redis.zadd(keys.timers("main", "abandoned_cart"), {TIMER: world.now})
        world.deliver(TIMER)
    (line,) = world.decisions("ada")
    assert (line["state"], line["reason"], line["times"]) == ("suppressed", "unsubscribed", 3)
    assert line["compared"] == {"activity": START, "unsubscribed": world.now}


def test_what_was_put_off_is_one_line_with_its_newest_due(redis: Redis) -> None:
    world = carts(redis)
    for minute in (10, 20):
        world.now = START + minute * MINUTE
        redis.zadd(keys.timers("main", "abandoned_cart"), {TIMER: world.now})
        world.deliver(TIMER)
    (line,) = world.decisions("ada")
    assert (line["state"], line["reason"], line["due"], line["times"]) == ("moved", "moved", START + 30 * MINUTE, 2)
    assert dict(world.due_timers(START + DAY))[TIMER] == START + 30 * MINUTE


def test_what_fired_too_early_is_put_off_although_the_person_moved_on(redis: Redis) -> None:
    world = carts(redis)
    world.now = START + 10 * MINUTE
    redis.zadd(keys.timers("main", "abandoned_cart"), {TIMER: world.now})
    moves = world.interrupted_courier(lambda: world.record(world.event("Page", user="ada")))
    world.deliver(TIMER, courier=moves)
    (line,) = world.decisions("ada")
    assert (line["state"], line["due"]) == ("moved", START + 30 * MINUTE)
    assert dict(world.due_timers(START + DAY))[TIMER] == START + 30 * MINUTE


def test_what_waits_for_an_address_is_parked_on_the_person(redis: Redis) -> None:
    world = World(redis)
    world.record(world.event("Product Added", user="ada", product=product("a")))
    world.record(world.event("Order Completed", user="bob", order_id="1"))
    confirmation = keys.timer("order_confirmation", "o", keys.order_id("main", "1"))
    world.now = START + HOUR
    before = count(metrics.RETIMED, "abandoned_cart", "parked")
    world.deliver(TIMER, confirmation)
    assert count(metrics.RETIMED, "abandoned_cart", "parked") == before + 1
    waits: Any = redis.hget(f"{SHOP}p:{world.root('ada')}", f"k:{TIMER}")
    assert waits == f"{30 * MINUTE} {2 * MINUTE}".encode()
    assert redis.hget(f"{SHOP}p:{world.root('bob')}", f"k:{confirmation}") == b"0 0"
    (line,) = world.decisions("ada")
    assert (line["state"], line["reason"], line["due"]) == ("parked", "no_address_yet", START + DAY + 1)
    assert dict(world.due_timers(START + 9 * DAY))[TIMER] == START + DAY + 1
    world.deliver(TIMER)
    assert [entry["times"] for entry in world.decisions("ada")] == [2]


def test_a_send_is_not_parked_on_a_person_who_moved_on(redis: Redis) -> None:
    world = World(redis)
    world.record(world.event("Product Added", user="ada", product=product("a")))
    world.now = START + HOUR
    moves = world.interrupted_courier(lambda: world.record(world.event("Page", user="ada")))
    world.deliver(TIMER, courier=moves)
    assert world.decisions("ada") == []
    assert dict(world.due_timers(START + DAY))[TIMER] == START + HOUR


def test_a_contradiction_is_noted_once_a_mail(redis: Redis) -> None:
    world = carts(redis)
    world.deliver(TIMER)
    for _ in range(2):
        world.record(world.event("Order Completed", user="ada", at=START + 59 * MINUTE))
        world.run(world.now + MINUTE)
    lines = [line for line in world.decisions("ada") if line["state"] == "contradicted"]
    assert [(line["reason"], line["send"], line["times"]) for line in lines] == [
        ("ordered", world.esp.mails[0].send_id, 1)
    ]
    assert lines[0]["compared"]["sent_at"] == START + HOUR
    assert [timer for timer, _ in world.due_timers(START + 9 * DAY) if timer.startswith("lookback")] == []
    assert not redis.hexists(f"{SHOP}begun", keys.timer("lookback", "p", world.root("ada")))


def test_a_mail_left_when_the_esp_took_it(redis: Redis) -> None:
    world = carts(redis)
    world.esp.before_send = lambda _: setattr(world, "now", START + HOUR + MINUTE)
    world.deliver(TIMER)
    (claim,) = world.person("ada").claims("abandoned_cart")
    assert claim.at == START + HOUR + MINUTE


def test_what_a_worker_left_behind_ends_where_it_was_claimed_with_an_address_or_without(redis: Redis) -> None:
    world = World(redis)
    world.record(world.event("Product Added", anon="d1", product=product("a")))
    device = keys.person_id("main", None, "d1")
    version = world.records(keys.timer("abandoned_cart", "p", device)).person.mark("cart")
    assert version
    redis.hset(f"{SHOP}p:{device}", "c:abandoned_cart", f"s1 claimed t 0 {START} 0 {version.stamp}")
    world.record(world.event("Page", user="ada", anon="d1"))
    world.now = START + HOUR
    world.deliver(TIMER)
    assert world.outcomes("ada") == [("abandoned_cart", "unknown")]
    claim: Any = redis.hget(f"{SHOP}p:{device}", "c:abandoned_cart")
    assert claim.split()[1] == b"unknown"
    assert redis.hget(f"{SHOP}p:{world.root('ada')}", "c:abandoned_cart") is None


@pytest.mark.parametrize(("error", "states"), [(None, ["sent", "contradicted"]), ("refused", ["rejected"])])
def test_only_a_mail_that_left_is_contradicted(redis: Redis, error: str | None, states: list[str]) -> None:
    world = carts(redis)
    world.esp.errors = [EspError(error, permanent=True)] if error else []
    world.deliver(TIMER)
    redis.hset(f"{SHOP}p:{world.root('ada')}", "ls", world.now)
    world.record(world.event("Order Completed", user="ada", at=START + 59 * MINUTE))
    world.run(world.now + MINUTE)
    assert [state for _, state in world.outcomes("ada")] == states


def test_a_worker_decides_by_the_time_that_it_reads_from_redis(redis: Redis) -> None:
    world = carts(redis)
    courier = Courier(redis, world.triggers, world.esp, world.lookup(), deadline_ms=1000)
    courier._clock.set(5)
    world.deliver(TIMER, courier=courier)
    assert world.outcomes("ada") == [("abandoned_cart", "stale")]


@pytest.mark.parametrize("fault", [RedisConnectionError("down"), EspError("refused")])
def test_what_is_not_our_own_fault_ends_the_job_and_the_timers_bring_it_back(redis: Redis, fault: Exception) -> None:
    def compose(_person: Any, _order: Any) -> dict[str, Any]:
        raise fault

    world = carts(redis, compose=compose)
    with pytest.raises(type(fault)):
        world.deliver(TIMER)
    assert world.decisions("ada") == []
    assert TIMER in dict(world.due_timers(world.now))


def test_a_send_without_a_timer_is_over(redis: Redis) -> None:
    world = carts(redis)
    for _ in range(2):
        world.deliver(TIMER)
    assert [line["times"] for line in world.decisions("ada")] == [1]
    assert len(world.esp.mails) == 1


def test_after_a_gap_a_waiting_mail_is_put_off_by_its_settle_time(redis: Redis) -> None:
    world = carts(redis)
    redis.set(f"{SHOP}gap", f"{world.now} {world.now}")
    world.deliver(TIMER)
    (line,) = world.decisions("ada")
    assert (line["reason"], line["due"]) == ("after_gap", world.now + 2 * MINUTE)
