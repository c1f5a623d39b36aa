"""Timers: due members are leased and come back; what is newer is never lost to what is older; nothing fires early.

The functions go by Redis' own clock, so the leases here are of a millisecond, and the dues lie before or after now.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from redis import Redis
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from freshgate.state import keys, store
from freshgate.state.store import fcall
from workers.timers import CHUNK, LEASE_MS, MAX_QUEUED, Timers

ADA = keys.person_id("main", "ada", None)
MEMBER = keys.member("abandoned_cart", "p", ADA)
QUEUE = "test"
Due = tuple[str, int, int]


@pytest.fixture
def timers(redis: Redis) -> Timers:
    store.load(redis)
    return Timers(redis, QUEUE, settle_ms=0)


def start(redis: Redis, due: int, member: str = MEMBER) -> None:
    redis.zadd(keys.timers(keys.shard(keys.parse_member(member)[2])), {member: due}, gt=True)


def claim(redis: Redis, lease_ms: int = LEASE_MS) -> list[Due]:
    """(member, due, returned) of all that is due by Redis' clock."""
    reply: Any = fcall(redis, "fg1_claim_due", keys.all_timers(), CHUNK, lease_ms)
    flat = reply[2]
    return [(flat[at].decode(), int(flat[at + 1]), int(flat[at + 2])) for at in range(0, len(flat), 3)]


def finish(redis: Redis, due: int, again: int | None = None) -> None:
    fcall(redis, "fg1_retime", [keys.person(ADA)], MEMBER, due, "" if again is None else again)


def waiting(redis: Redis) -> dict[str, int]:
    found: Any = redis.zrange(keys.timers(keys.shard(ADA)), 0, -1, withscores=True)
    return {member.decode(): int(due) for member, due in found}


def leased(redis: Redis) -> bool:
    shard = keys.timers(keys.shard(ADA)).removesuffix("timers")
    return bool(redis.exists(f"{shard}leases", f"{shard}leased"))


def jobs(redis: Redis) -> list[list[Due]]:
    """The sends of each job in the queue, the oldest first."""
    told = []
    queued: Any = redis.lrange(f"rq:queue:{QUEUE}", 0, -1)
    for one in queued:
        job = RqJob.fetch(one.decode(), connection=redis, serializer=JSONSerializer)
        (payload,) = job.args
        told.append([(member, due, returned) for member, due, returned in json.loads(json.dumps(payload))["sends"]])
    return told


def now_ms(redis: Redis) -> int:
    seconds, micros = redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def past_the_lease(redis: Redis) -> None:
    """Returns when a lease of a millisecond is over by Redis' clock."""
    until = now_ms(redis) + 2
    while now_ms(redis) <= until:
        time.sleep(0.001)


def test_a_timer_that_is_due_is_claimed_once(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    start(redis, due)
    assert claim(redis) == [(MEMBER, due, 0)]
    assert claim(redis) == []


def test_none_is_claimed_early(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) + 60_000
    start(redis, due)
    assert claim(redis) == []
    timers.tick()
    assert jobs(redis) == []
    assert waiting(redis) == {MEMBER: due}


def test_a_leased_timer_that_is_not_settled_comes_back_after_its_lease(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    start(redis, due)
    assert claim(redis, lease_ms=1) == [(MEMBER, due, 0)]
    past_the_lease(redis)
    assert claim(redis) == [(MEMBER, due, 1)]


def test_a_leased_timer_does_not_come_back_before_its_lease_is_over(redis: Redis, timers: Timers) -> None:
    start(redis, now_ms(redis) - 1)
    claim(redis, lease_ms=60_000)
    past_the_lease(redis)
    assert claim(redis) == []


def test_a_settled_timer_does_not_come_back(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    start(redis, due)
    claim(redis, lease_ms=1)
    finish(redis, due)
    past_the_lease(redis)
    assert claim(redis) == []
    assert not leased(redis)


def test_a_timer_that_is_put_off_waits_until_its_new_due(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    start(redis, due)
    claim(redis)
    finish(redis, due, again=due + 60_000)
    assert waiting(redis) == {MEMBER: due + 60_000}
    assert not leased(redis)


def test_a_newer_event_that_moves_a_leased_timer_is_not_lost_when_the_older_one_is_settled(
    redis: Redis, timers: Timers
) -> None:
    due = now_ms(redis) - 1
    start(redis, due)
    claim(redis)
    start(redis, due + 60_000)
    finish(redis, due)
    assert waiting(redis) == {MEMBER: due + 60_000}
    assert not leased(redis)


def test_a_newer_event_outlives_the_lease_of_a_worker_that_died(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    start(redis, due)
    claim(redis, lease_ms=1)
    start(redis, due + 60_000)
    past_the_lease(redis)
    assert claim(redis) == []
    assert waiting(redis) == {MEMBER: due + 60_000}


def test_completion_removes_only_the_due_that_was_claimed(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1000
    start(redis, due)
    finish(redis, due - 1)
    assert waiting(redis) == {MEMBER: due}
    claim(redis)
    finish(redis, due - 1)
    assert leased(redis)
    finish(redis, due)
    assert not leased(redis)
    assert waiting(redis) == {}


def test_a_member_that_is_leased_is_not_leased_a_second_time_for_a_newer_due(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1000
    start(redis, due)
    claim(redis)
    start(redis, due + 1)
    assert claim(redis) == []
    finish(redis, due)
    assert claim(redis) == [(MEMBER, due + 1, 0)]


def test_due_timers_share_a_job_and_a_returned_one_travels_alone(redis: Redis, timers: Timers) -> None:
    others = [keys.member("welcome", "p", keys.person_id("main", name, None)) for name in ("bob", "eve")]
    due = now_ms(redis) - 10
    start(redis, due)
    claim(redis, lease_ms=1)
    past_the_lease(redis)
    for member in others:
        start(redis, due, member)
    timers.tick()
    alone, together = jobs(redis)
    assert alone == [(MEMBER, due, 1)]
    assert sorted(together) == sorted((member, due, 0) for member in others)


def test_a_settled_timer_that_once_came_back_starts_anew(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 10
    start(redis, due)
    claim(redis, lease_ms=1)
    past_the_lease(redis)
    assert claim(redis) == [(MEMBER, due, 1)]
    finish(redis, due)
    start(redis, due + 1)
    assert claim(redis) == [(MEMBER, due + 1, 0)]


def test_nothing_is_claimed_while_the_queue_is_full(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    start(redis, due)
    redis.rpush(f"rq:queue:{QUEUE}", *[f"job-{number}" for number in range(MAX_QUEUED)])
    timers.tick()
    assert waiting(redis) == {MEMBER: due}
    assert redis.llen(f"rq:queue:{QUEUE}") == MAX_QUEUED
    redis.delete(f"rq:queue:{QUEUE}")
    timers.tick()
    assert jobs(redis) == [[(MEMBER, due, 0)]]


def test_more_than_a_chunk_is_claimed_in_several_looks_and_none_is_lost(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    everybody = {keys.member("welcome", "p", keys.person_id("main", f"u{number}", None)) for number in range(250)}
    for member in everybody:
        start(redis, due, member)
    for _ in range(3):
        timers.tick()
    told = [member for job in jobs(redis) for member, _, _ in job]
    assert len(told) == 250
    assert set(told) == everybody


def test_timers_load_the_functions_that_the_server_lost(redis: Redis, timers: Timers) -> None:
    due = now_ms(redis) - 1
    start(redis, due)
    redis.function_flush()
    timers.tick()
    assert jobs(redis) == [[(MEMBER, due, 0)]]
