"""Timers: due members are leased and come back; a newer due is never lost to an older one; nothing fires early.

The functions use Redis' own clock, so leases here last a millisecond, and dues lie before or after now.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from freshgate.queue import queue_name
from freshgate.routing import Routes
from freshgate.state import keys, restored, store
from freshgate.state.restored import OUTAGE_MS
from freshgate.state.store import fcall
from workers.allowances import MAX_QUEUED
from workers.timers import (
    CHUNK,
    HEARTBEAT_INTERVAL_S,
    LEASE_MS,
    MAX_IDLE_SLEEP_S,
    MAX_SLEEP_S,
    SHOPS_INTERVAL_S,
    Timers,
)

ADA = keys.person_id("main", "ada", None)
TIMER = keys.timer("abandoned_cart", "p", ADA)
SHOP = keys.shop("main")
QUEUE = queue_name("test", timers=True)
Due = tuple[str, int, int]


@pytest.fixture
def timers(redis: Redis) -> Timers:
    store.load(redis)
    store.add_shops(redis, ["main"])
    return Timers(redis, Routes(["test"]), settle_ms=0)


def set_timer(redis: Redis, due: int, timer: str = TIMER) -> None:
    trigger = keys.TimerRef.parse(timer).trigger
    redis.zadd(keys.timers("main", trigger), {timer: due}, gt=True)
    redis.sadd(f"{SHOP}triggers", trigger)


def claim(redis: Redis, lease_ms: int = LEASE_MS) -> list[Due]:
    """Lease the timers that are due by Redis' clock; returns (member, due, returned) of each."""
    _, _, *flat = fcall(redis, "claim_due", SHOP, "", CHUNK, lease_ms)
    return [(flat[at].decode(), int(flat[at + 1]), int(flat[at + 2])) for at in range(0, len(flat), 3)]


def complete(redis: Redis, due: int, retry_at: int | None = None) -> None:
    body = {"owner": f"p:{ADA}", "timer": TIMER, "due": str(due)} | ({"next": retry_at} if retry_at else {})
    fcall(redis, "settle", SHOP, "", msgspec.msgpack.encode(body))


def waiting_timers(redis: Redis) -> dict[str, int]:
    rows: Any = redis.zrange(keys.timers("main", "abandoned_cart"), 0, -1, withscores=True)
    return {member.decode(): int(due) for member, due in rows}


def has_lease(redis: Redis) -> bool:
    return bool(redis.exists(f"{SHOP}leases", f"{SHOP}leased"))


def queued_jobs(redis: Redis, queue: str = QUEUE) -> list[list[tuple[str, int]]]:
    """The sends of each job in the queue, the oldest job first."""
    payloads = []
    queued: Any = redis.lrange(f"rq:queue:{queue}", 0, -1)
    for job_id in queued:
        job = RqJob.fetch(job_id.decode(), connection=redis, serializer=JSONSerializer)
        (payload,) = job.args
        assert payload["shop"] == "main"
        payloads.append([(timer, returned) for timer, returned in payload["sends"]])
    return payloads


def now_ms(redis: Redis) -> int:
    seconds, micros = redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def wait_for_lease_end(redis: Redis) -> None:
    """Return once a lease of one millisecond is over by Redis' clock."""
    until = now_ms(redis) + 2
    while now_ms(redis) <= until:
        time.sleep(0.001)


def test_a_timer_that_is_due_is_claimed_once(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    set_timer(redis, due)
    assert claim(redis) == [(TIMER, due, 0)]
    assert claim(redis) == []


def test_a_look_at_four_triggers_of_which_nothing_is_due_takes_eight_commands(redis: Redis, timers: Timers) -> None:
    for name in ("abandoned_cart", "browse_abandonment", "welcome", "lookback"):
        set_timer(redis, now_ms(redis) + 3_600_000, f"{name}|p:u1")
    timers.tick()
    redis.config_resetstat()
    assert 0.01 < timers.tick() <= MAX_IDLE_SLEEP_S
    stats: Any = redis.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}
    calls.pop("config|resetstat", None)
    # One function: the clock, the leases, the triggers and the next due of each.
    assert calls == {"fcall": 1, "time": 1, "zrangebyscore": 1, "smembers": 1, "zrange": 4}


def test_none_is_claimed_early(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) + 60_000
    set_timer(redis, due)
    assert claim(redis) == []
    timers.tick()
    assert queued_jobs(redis) == []
    assert waiting_timers(redis) == {TIMER: due}


def test_a_leased_timer_that_is_not_settled_comes_back_after_its_lease(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    set_timer(redis, due)
    assert claim(redis, lease_ms=1) == [(TIMER, due, 0)]
    wait_for_lease_end(redis)
    assert claim(redis) == [(TIMER, due, 1)]


def test_a_leased_timer_does_not_come_back_before_its_lease_is_over(redis: Redis, timers: Timers) -> None:
    set_timer(redis, now_ms(redis) - 1)
    claim(redis, lease_ms=60_000)
    wait_for_lease_end(redis)
    assert claim(redis) == []


def test_a_settled_timer_does_not_come_back(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    set_timer(redis, due)
    claim(redis, lease_ms=1)
    complete(redis, due)
    wait_for_lease_end(redis)
    assert claim(redis) == []
    assert not has_lease(redis)


def test_a_timer_that_is_put_off_waits_until_its_new_due(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    set_timer(redis, due)
    claim(redis)
    complete(redis, due, retry_at=due + 60_000)
    assert waiting_timers(redis) == {TIMER: due + 60_000}
    assert not has_lease(redis)


def test_a_newer_event_that_moves_a_leased_timer_is_not_lost_when_the_older_one_is_settled(
    redis: Redis, timers: Timers
) -> None:
    due = now_ms(redis) - 1
    set_timer(redis, due)
    claim(redis)
    set_timer(redis, due + 60_000)
    complete(redis, due)
    assert waiting_timers(redis) == {TIMER: due + 60_000}
    assert not has_lease(redis)


def test_a_newer_event_outlives_the_lease_of_a_worker_that_died(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    set_timer(redis, due)
    claim(redis, lease_ms=1)
    set_timer(redis, due + 60_000)
    wait_for_lease_end(redis)
    assert claim(redis) == []
    assert waiting_timers(redis) == {TIMER: due + 60_000}


def test_completion_removes_only_the_due_that_was_claimed(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1000
    set_timer(redis, due)
    complete(redis, due - 1)
    assert waiting_timers(redis) == {TIMER: due}
    claim(redis)
    complete(redis, due - 1)
    assert has_lease(redis)
    complete(redis, due)
    assert not has_lease(redis)
    assert waiting_timers(redis) == {}


def test_a_member_that_is_leased_is_not_leased_a_second_time_for_a_newer_due(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1000
    set_timer(redis, due)
    claim(redis)
    set_timer(redis, due + 1)
    assert claim(redis) == []
    complete(redis, due)
    assert claim(redis) == [(TIMER, due + 1, 0)]


def test_due_timers_share_a_job_and_a_returned_one_travels_alone(redis: Redis, timers: Timers) -> None:
    others = [keys.timer("welcome", "p", keys.person_id("main", name, None)) for name in ("bob", "eve")]
    due = now_ms(redis) - 10
    set_timer(redis, due)
    claim(redis, lease_ms=1)
    wait_for_lease_end(redis)
    for timer in others:
        set_timer(redis, due, timer)
    timers.tick()
    alone, together = queued_jobs(redis)
    assert alone == [(TIMER, 1)]
    assert sorted(together) == sorted((timer, 0) for timer in others)


def test_a_settled_timer_that_once_came_back_starts_anew(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 10
    set_timer(redis, due)
    claim(redis, lease_ms=1)
    wait_for_lease_end(redis)
    assert claim(redis) == [(TIMER, due, 1)]
    complete(redis, due)
    set_timer(redis, due + 1)
    assert claim(redis) == [(TIMER, due + 1, 0)]


def test_nothing_is_claimed_while_the_queue_is_full(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    set_timer(redis, due)
    redis.rpush(f"rq:queue:{QUEUE}", *[f"job-{number}" for number in range(MAX_QUEUED)])
    timers.tick()
    assert waiting_timers(redis) == {TIMER: due}
    assert redis.llen(f"rq:queue:{QUEUE}") == MAX_QUEUED
    redis.delete(f"rq:queue:{QUEUE}")
    timers.tick()
    assert queued_jobs(redis) == [[(TIMER, 0)]]


OTHER_TIMER = keys.timer("welcome", "p", ADA)
REMOVED_TIMER = keys.timer("removed", "p", ADA)


@pytest.fixture
def two_accounts(redis: Redis, timers: Timers) -> Timers:
    """The account `test` is the first and has the cart's mails, `other` those of the welcome."""
    due = now_ms(redis) - 1
    for timer in (TIMER, OTHER_TIMER, REMOVED_TIMER):
        set_timer(redis, due, timer)
    return Timers(redis, Routes(["test", "other"], {"abandoned_cart": "test", "welcome": "other"}), settle_ms=0)


def fill(redis: Redis, account: str) -> None:
    redis.rpush(f"rq:queue:{queue_name(account, timers=True)}", *[f"job-{number}" for number in range(MAX_QUEUED)])


def test_each_timer_goes_to_the_queue_of_its_triggers_account(redis: Redis, two_accounts: Timers) -> None:
    two_accounts.tick()
    # What names no trigger of the catalog goes to the first account.
    assert sorted(timer for job in queued_jobs(redis) for timer, _ in job) == sorted([TIMER, REMOVED_TIMER])
    assert queued_jobs(redis, queue_name("other", timers=True)) == [[(OTHER_TIMER, 0)]]


def test_a_full_queue_of_the_first_account_does_not_stop_the_others(redis: Redis, two_accounts: Timers) -> None:
    fill(redis, "test")
    assert two_accounts.tick() > 0.01, "what may not be claimed keeps the process busy"
    assert queued_jobs(redis, queue_name("other", timers=True)) == [[(OTHER_TIMER, 0)]]
    assert len(waiting_timers(redis)) == 1
    assert redis.zcard(keys.timers("main", "removed")) == 1
    redis.delete(f"rq:queue:{QUEUE}")
    two_accounts.tick()
    assert len([timer for job in queued_jobs(redis) for timer, _ in job]) == 2


def test_a_full_queue_of_another_account_does_not_stop_the_first(redis: Redis, two_accounts: Timers) -> None:
    fill(redis, "other")
    two_accounts.tick()
    assert sorted(timer for job in queued_jobs(redis) for timer, _ in job) == sorted([TIMER, REMOVED_TIMER])
    assert redis.zcard(keys.timers("main", "welcome")) == 1


def test_what_came_back_travels_alone_to_its_own_account(redis: Redis, two_accounts: Timers) -> None:
    claim(redis, lease_ms=1)
    wait_for_lease_end(redis)
    two_accounts.tick()
    assert sorted(queued_jobs(redis)) == sorted([[(TIMER, 1)], [(REMOVED_TIMER, 1)]])
    assert queued_jobs(redis, queue_name("other", timers=True)) == [[(OTHER_TIMER, 1)]]


def test_more_than_a_chunk_is_claimed_in_several_looks_and_none_is_lost(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    members = {keys.timer("welcome", "p", keys.person_id("main", f"u{number}", None)) for number in range(250)}
    for member in members:
        set_timer(redis, due, member)
    for _ in range(3):
        timers.tick()
    claimed = [timer for job in queued_jobs(redis) for timer, _ in job]
    assert len(claimed) == 250
    assert set(claimed) == members


def test_timers_load_the_functions_that_the_server_lost(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    set_timer(redis, due)
    redis.function_flush()
    timers.tick()
    assert queued_jobs(redis) == [[(TIMER, 0)]]


def test_the_next_due_is_the_earliest_of_all_triggers(redis: Redis, timers: Timers) -> None:
    # Each trigger is the first to be read at times.
    moments = range(1000, 1003)
    for trigger, due in (("b", 7000), ("a", 5000), ("c", 6000)):
        set_timer(redis, due, keys.timer(trigger, "p", ADA))
    assert {fcall(redis, "claim_due", SHOP, now, CHUNK, LEASE_MS)[1] for now in moments} == {b"5000"}


class WatchedTimers(Timers):
    """Remembers whether a gap was noted when timers were claimed."""

    gaps: list[Any]
    looks = 0
    is_redis_away = False

    def _push(self, shop: str, now: int, due: list[Due]) -> None:
        self.gaps.append(self._client.exists(f"{SHOP}gap"))
        super()._push(shop, now, due)


@pytest.mark.parametrize("away", [True, False])
def test_an_outage_that_the_timers_live_through_is_noted_before_they_claim(
    redis: Redis, away: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.load(redis)
    store.add_shops(redis, ["main"])
    set_timer(redis, 1)
    timers = WatchedTimers(redis, Routes(["test"]), settle_ms=0)
    timers.gaps = []
    execute = redis.execute_command

    def execute_unless_away(*arguments: Any, **options: Any) -> Any:
        if timers.is_redis_away:
            timers.is_redis_away = False
            raise RedisConnectionError("away")
        return execute(*arguments, **options)

    monkeypatch.setattr(redis, "execute_command", execute_unless_away)
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)

    def begin_or_stop() -> bool:
        # The first look is whether the store is a copy.
        timers.looks += 1
        timers.is_redis_away = away and timers.looks == 2
        return bool(timers.gaps)

    timers._run(begin_or_stop)
    assert timers.gaps == [int(away)]


class Clock:
    """The process' own clock, which moves by its sleeps alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class StartingTimers(Timers):
    """Remembers, whenever it claims, how long it has slept and whether all mail is held."""

    clock: Clock
    claims: list[tuple[float, bool]]

    def _push(self, shop: str, now: int, due: list[Due]) -> None:
        self.claims.append((sum(self.clock.slept), bool(self._client.sismember(keys.HOLD, "*"))))
        super()._push(shop, now, due)


def starting(redis: Redis, clock: Clock, silence_ms: int | None) -> StartingTimers:
    """Timers that start so long after the last sign of life, with a mail that is due."""
    store.load(redis)
    store.add_shops(redis, ["main"])
    set_timer(redis, 1)
    if silence_ms is not None:
        redis.set(keys.HEARTBEAT, now_ms(redis) - silence_ms)
    timers = StartingTimers(redis, Routes(["test"]), settle_ms=5000)
    timers.clock, timers.claims = clock, []
    return timers


@pytest.mark.parametrize(
    ("silence_ms", "waits"), [(OUTAGE_MS + 60_000, True), (OUTAGE_MS - 60_000, False), (None, False)]
)
def test_after_a_long_silence_due_mail_waits_until_what_arrives_has_settled(
    redis: Redis, clock: Clock, silence_ms: int | None, waits: bool
) -> None:
    timers = starting(redis, clock, silence_ms)
    redis.set(keys.STOPPED, 1)
    timers.run(lambda: bool(timers.claims))
    ((slept, is_held),) = timers.claims
    assert not is_held
    assert slept == pytest.approx(5.0 if waits else 0, abs=0.2)


def test_timers_that_are_told_to_stop_while_they_wait_claim_nothing(redis: Redis, clock: Clock) -> None:
    timers = starting(redis, clock, OUTAGE_MS * 2)
    redis.set(keys.STOPPED, 1)
    timers.run(lambda: len(clock.slept) == 3)
    assert timers.claims == []


def test_a_store_that_may_be_a_copy_holds_all_mail_before_anything_is_claimed(redis: Redis, clock: Clock) -> None:
    # The server of the tests has not run for as long.
    timers = starting(redis, clock, 365 * 86_400_000)
    timers.run(lambda: bool(timers.claims))
    assert [is_held for _, is_held in timers.claims] == [True]


def test_timers_that_start_while_redis_is_away_ask_once_more_whether_it_is_a_copy(
    redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers = starting(redis, clock, 365 * 86_400_000)
    hold = restored.hold_if_restored
    failures = [RedisConnectionError("away")]

    def hold_or_fail(client: Redis) -> bool:
        if failures:
            raise failures.pop()
        return hold(client)

    monkeypatch.setattr(restored, "hold_if_restored", hold_or_fail)
    timers.run(lambda: bool(timers.claims))
    assert [is_held for _, is_held in timers.claims] == [True]
    assert clock.slept[0] == 0.5


def test_the_timers_sleep_while_nothing_is_due(redis: Redis, timers: Timers, clock: Clock) -> None:
    timers.run(lambda: len(clock.slept) == 3)
    assert clock.slept == [MAX_IDLE_SLEEP_S] * 3
    assert redis.exists(keys.STOPPED), "a store that is restored later is told from a pause"


def test_the_timers_give_a_sign_of_life_and_find_out_that_a_copy_took_the_stores_place(
    redis: Redis, timers: Timers, clock: Clock
) -> None:
    timers.tick()
    beaten: Any = redis.get(keys.HEARTBEAT)
    assert abs(int(beaten) - now_ms(redis)) < 60_000
    redis.set(keys.HEARTBEAT, 1)
    timers.tick()
    assert redis.get(keys.HEARTBEAT) == b"1", "not with every look"
    clock.now += HEARTBEAT_INTERVAL_S
    timers.tick()
    assert redis.sismember(keys.HOLD, "*")


def test_a_shop_is_found_within_seconds_and_the_first_one_at_once(redis: Redis, clock: Clock) -> None:
    store.load(redis)
    timers = Timers(redis, Routes(["test"]), settle_ms=0)
    timers.tick()
    for shop in ("main", "other"):
        store.add_shops(redis, [shop])
        redis.zadd(keys.timers(shop, "welcome"), {f"welcome|p:{shop}": 1})
        redis.sadd(f"{keys.shop(shop)}triggers", "welcome")
        timers.tick()
    queue = f"rq:queue:{QUEUE}"
    assert redis.llen(queue) == 1
    clock.now += SHOPS_INTERVAL_S
    timers.tick()
    timers.tick()
    assert redis.llen(queue) == 2


def test_a_shop_in_which_nothing_is_due_does_not_hold_up_another(redis: Redis, timers: Timers) -> None:
    store.add_shops(redis, ["another", "zoo"])
    set_timer(redis, now_ms(redis) - 1)
    timers.tick()
    assert queued_jobs(redis) == [[(TIMER, 0)]]


def test_after_a_full_chunk_the_next_look_follows_at_once(redis: Redis, timers: Timers) -> None:
    for number in range(CHUNK):
        set_timer(redis, 1, keys.timer("welcome", "p", keys.person_id("main", f"u{number}", None)))
    assert timers.tick() == 0.0
    assert sum(map(len, queued_jobs(redis))) == CHUNK


def test_the_jobs_of_a_look_are_written_all_at_once(redis: Redis, timers: Timers) -> None:
    for number in range(3):
        set_timer(redis, 1, keys.timer("welcome", "p", keys.person_id("main", f"u{number}", None)))
    redis.config_resetstat()
    timers.tick()
    stats: Any = redis.info("commandstats")
    assert stats["cmdstat_exec"]["calls"] == 1


class ScriptedTimers(Timers):
    """What Redis replies to each look: its time, the next due, and what was claimed."""

    replies: list[tuple[int, int | None, list[Due]]]

    def _claim(self, *_: Any) -> tuple[int, int | None, list[Due]]:
        return self.replies.pop(0)


@pytest.mark.parametrize(
    ("replies", "pause"),
    [
        ([(1000, 1060, [])], 0.06),
        ([(1000, 999, []), (1000, 1030, [])], 0.03),
        ([(1000, 1000, []), (1000, 1000, [])], 0.001),
        ([(1000, 1000, []), (1000, None, [])], MAX_SLEEP_S),
        ([(1000, 1000, []), (1000, 9000, [])], MAX_SLEEP_S),
    ],
)
def test_the_timers_sleep_until_the_next_due(
    redis: Redis, timers: Timers, replies: list[tuple[int, int | None, list[Due]]], pause: float
) -> None:
    scripted = ScriptedTimers(redis, Routes(["test"]), settle_ms=0)
    scripted.replies = list(replies)
    assert scripted.tick() == pytest.approx(pause, rel=1e-6)


def test_an_outage_is_noted_once(redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    timers = starting(redis, clock, None)
    tick, gaps = timers.tick, list[Any]()
    failures = [RedisConnectionError("away")]

    def tick_or_fail() -> float:
        if failures:
            raise failures.pop()
        gaps.append(redis.delete(f"{SHOP}gap"))
        return tick()

    monkeypatch.setattr(timers, "tick", tick_or_fail)
    timers.run(lambda: len(gaps) == 3)
    assert gaps == [1, 0, 0]
    assert clock.slept[0] == 0.5
