"""An account's breaker, which all workers share: when it opens, who probes, what closes it."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError

from freshgate.errors import EspError
from freshgate.settings import EspSettings
from freshgate.state import keys, store
from freshgate.state.clock import RedisClock
from freshgate.state.store import fcall
from tests.engine.accounts import BLOCKED, FAILED, HUNG, LIMITED, SECOND, Clock, Worker, trips
from tests.engine.world import START
from workers.account import Account, Admission

pytestmark = pytest.mark.usefixtures("library")


def test_without_limits_and_with_a_closed_breaker_nothing_is_asked_or_kept(redis: Redis, clock: Clock) -> None:
    worker = Worker(redis, clock)
    worker.admit()
    before: Any = redis.info("commandstats")
    for _ in range(100):
        admission = worker.account.admit(3, "marketing")
        assert (admission.mails, admission.wait_s) == (3, 0.0)
        worker.account.report(admission, 3, None)
    after: Any = redis.info("commandstats")
    assert after["cmdstat_fcall"]["calls"] == before["cmdstat_fcall"]["calls"]
    worker.admit()
    names: Any = redis.keys("fg:account:*")
    assert [name for name in names if not name.endswith(b":calls")] == []
    assert 0 < redis.ttl(f"{keys.account('shop')}calls") <= 60


def test_what_is_known_is_asked_for_once_a_second_and_not_by_each_mail(redis: Redis, clock: Clock) -> None:
    worker = Worker(redis, clock, rate=(100, SECOND))
    admission = worker.admit()
    before = trips(redis)
    worker.account.report(admission, 1, None)
    assert trips(redis) == before, "a success waits for the next report"
    worker.account._synced_at = float("-inf")
    worker.account.report(admission, 0, FAILED)
    assert trips(redis) == before + 1
    assert worker.account.state.breaker == "closed"
    assert trips(redis) == before + 1, "the failure's report has asked"


def test_while_it_is_open_no_mail_asks_until_a_probe_may(redis: Redis, clock: Clock) -> None:
    worker = Worker(redis, clock)
    worker.call(BLOCKED)
    worker.admit()
    before = trips(redis)
    clock.now += 5 * SECOND - 1
    assert worker.account.admit(1, "marketing").due == START + 5 * SECOND
    assert trips(redis) == before
    clock.now += 1
    assert worker.account.admit(1, "marketing").is_probe


def test_a_redis_that_is_away_is_asked_once_a_second(clock: Clock) -> None:
    account = Account(store.connect("redis://127.0.0.1:1/0"), "shop", EspSettings(), RedisClock(lambda: clock.now))
    with pytest.raises(RedisError):
        account.is_open()
    assert not account.is_open()


def test_it_learns_redis_time(redis: Redis) -> None:
    skews: list[float] = []
    assert Account(redis, "shop", EspSettings(), RedisClock(None, skews.append)).state.breaker == "closed"
    assert len(skews) == 1


class TestBreaker:
    def test_a_refusal_of_the_account_opens_it_for_all_workers(self, redis: Redis, clock: Clock) -> None:
        first, second = Worker(redis, clock), Worker(redis, clock)
        first.call(BLOCKED)
        refused = second.admit()
        assert (refused.mails, refused.reason, refused.due) == (0, "breaker_open", START + 5 * SECOND)
        assert second.account.state.reason == "blocked"

    @pytest.mark.parametrize("error", [FAILED, HUNG], ids=["fails", "hangs"])
    def test_failures_in_a_row_open_it(self, redis: Redis, clock: Clock, error: EspError) -> None:
        first, second = Worker(redis, clock), Worker(redis, clock)
        for number in range(5):
            assert first.breaker == "closed", number
            # An hour apart: few mails must not keep it closed.
            clock.now += 3600 * SECOND
            (first, second)[number % 2].call(error)
        assert first.breaker == "open"
        assert first.account.state.reason == "failing"

    def test_batches_that_fail_open_it_sooner(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        worker.call(HUNG, mails=100)
        assert worker.breaker == "closed"
        worker.call(HUNG, mails=100)
        assert worker.breaker == "open"

    def test_batches_that_fail_by_chance_among_many_calls_do_not_open_it(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        for _ in range(20):
            worker.call(mails=10)
        for _ in range(3):
            worker.call(HUNG, mails=10)
        assert worker.breaker == "closed"
        worker.call(HUNG, mails=10)
        assert worker.breaker == "open"

    def test_an_account_that_fails_at_once_is_known_after_ten_calls(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        for _ in range(1000):
            worker.account.report(Admission(1), 1, None)
        for number in range(10):
            assert worker.breaker == "closed", number
            worker.call(FAILED)
        assert worker.breaker == "open"

    def test_429_is_neither_a_success_nor_a_failure(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        for _ in range(100):
            worker.account.report(Admission(1), 0, LIMITED)
        for _ in range(4):
            worker.account.report(Admission(1), 0, FAILED)
            worker.account.report(Admission(1), 0, LIMITED)
        assert worker.breaker == "closed"
        worker.account.report(Admission(1), 0, FAILED)
        assert worker.breaker == "open"

    def test_a_batch_weighs_as_much_as_three_mails(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        worker.call(HUNG, mails=100)
        worker.call(HUNG)
        assert worker.breaker == "closed"
        worker.call(HUNG)
        assert worker.breaker == "open"

    def test_a_success_ends_the_row(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        for error in [FAILED] * 4 + [None] + [FAILED] * 4:
            clock.now += 20 * SECOND
            worker.call(error)
        assert worker.breaker == "closed"

    def test_a_success_among_failures_that_are_reported_together_ends_the_row(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        for _ in range(4):
            clock.now += 20 * SECOND
            worker.call(FAILED)
        first, second = worker.admit(), worker.admit()
        worker.account.report(first, 1, None)
        worker.account.report(second, 0, FAILED)
        assert worker.breaker == "closed"

    @pytest.mark.parametrize(("failures", "state"), [(10, "open"), (9, "closed")])
    def test_a_share_of_failures_in_ten_seconds_opens_it(
        self, redis: Redis, clock: Clock, failures: int, state: str
    ) -> None:
        worker = Worker(redis, clock)
        errors = [FAILED if number < failures else None for number in range(20)]
        # One after the other, so that none are in a row.
        for error in [error for pair in zip(errors[:10], reversed(errors[10:]), strict=True) for error in pair]:
            clock.now += 400
            worker.call(error)
        assert worker.breaker == state

    def test_too_few_calls_are_no_share(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        for error in [FAILED, None] * 9:
            clock.now += 400
            worker.call(error)
        assert worker.breaker == "closed"

    def test_failures_of_more_than_ten_seconds_ago_do_not_count(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        for error in [FAILED, None] * 9:
            worker.call(error)
        clock.now += 10 * SECOND
        for error in [FAILED, None]:
            worker.call(error)
        assert worker.breaker == "closed"

    @pytest.mark.parametrize(
        "error", [EspError("400", permanent=True, status=400), EspError("429", status=429)], ids=["rejects", "limits"]
    )
    def test_an_answer_about_the_mail_or_the_rate_is_no_failure(
        self, redis: Redis, clock: Clock, error: EspError
    ) -> None:
        worker = Worker(redis, clock)
        for _ in range(20):
            clock.now += 3600 * SECOND
            assert worker.call(error).mails == 1
        assert worker.breaker == "closed"

    def test_one_call_probes_and_its_success_closes_it(self, redis: Redis, clock: Clock) -> None:
        first, second = Worker(redis, clock), Worker(redis, clock)
        first.call(BLOCKED)
        clock.now += 5 * SECOND - 1
        assert second.admit().mails == 0
        clock.now += 1
        probe = second.admit(10)
        assert (probe.mails, probe.is_probe, probe.reason) == (1, True, "breaker_open")
        assert first.breaker == "probing"
        assert first.admit().mails == 0
        second.account.report(probe, 1, None)
        assert first.breaker == "closed"
        assert first.admit(10).mails == 10
        assert not redis.exists(f"{keys.account('shop')}state", f"{keys.account('shop')}calls")

    def test_a_probe_that_fails_opens_it_for_twice_as_long_up_to_a_minute(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        for _ in range(5):
            worker.call(HUNG)
        since: Any = redis.hget(f"{keys.account('shop')}state", "since")
        pauses = []
        for _ in range(6):
            pauses.append((worker.admit().due - clock.now) // SECOND)
            clock.now = worker.admit().due
            worker.call(HUNG)
        assert pauses == [5, 10, 20, 40, 60, 60]
        assert redis.hget(f"{keys.account('shop')}state", "since") == since

    def test_a_call_that_was_on_its_way_neither_closes_nor_extends_it(self, redis: Redis, clock: Clock) -> None:
        first, second = Worker(redis, clock), Worker(redis, clock)
        late = [second.admit() for _ in range(3)]
        first.call(BLOCKED)
        for admission, error in zip(late, (None, BLOCKED, FAILED), strict=True):
            second.account.report(admission, 1, error)
        assert second.admit().due == START + 5 * SECOND

    def test_a_probe_that_was_not_needed_is_given_back(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        worker.call(BLOCKED)
        clock.now += 5 * SECOND
        worker.account.give_back(worker.admit(), 1)
        assert worker.breaker == "ready"
        assert worker.admit().is_probe

    def test_a_probe_that_is_given_back_gives_no_turn_of_the_rate_back(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock, rate=(2, 60 * SECOND))
        worker.call(BLOCKED)
        clock.now += 5 * SECOND
        worker.account.give_back(worker.admit(), 1)
        fcall(redis, "breaker", keys.account("shop"), clock.now, "close", "")
        assert worker.admit().due == START + 30 * SECOND

    def test_a_probe_whose_worker_died_is_tried_by_another_after_its_deadline(self, redis: Redis, clock: Clock) -> None:
        dead, other = Worker(redis, clock), Worker(redis, clock)
        dead.call(BLOCKED)
        clock.now += 5 * SECOND
        late = dead.admit()
        clock.now += 15 * SECOND - 1
        assert other.admit().mails == 0
        clock.now += 1
        probe = other.admit()
        assert probe.is_probe
        dead.account.report(late, 1, None)
        assert other.breaker == "probing"
        other.account.report(probe, 1, None)
        assert other.breaker == "closed"

    def test_an_operator_opens_it_until_an_operator_closes_it(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        fcall(redis, "breaker", keys.account("shop"), clock.now, "open", "maintenance")
        clock.now += 30 * 24 * 3600 * SECOND
        assert (worker.breaker, worker.account.state.reason) == ("held", "maintenance")
        assert worker.admit().due == clock.now + 30 * SECOND
        assert redis.ttl(f"{keys.account('shop')}state") == -1
        fcall(redis, "breaker", keys.account("shop"), clock.now, "close", "")
        assert worker.admit().mails == 1
