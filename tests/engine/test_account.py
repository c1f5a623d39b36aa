"""An account's limits and breaker, which all workers share through Redis; each `Account` here is a worker process."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from redis import Redis
from redis.exceptions import RedisError

from freshgate.errors import EspError
from freshgate.settings import EspSettings
from freshgate.state import keys, store
from freshgate.state.clock import RedisClock
from freshgate.state.store import fcall
from tests.engine.world import START
from workers.account import Account, Admission

SECOND = 1000
BLOCKED = EspError("401", blocked=True, status=401)
FAILED = EspError("503", status=503)
HUNG = EspError("timeout", ambiguous=True)
LIMITED = EspError("429", status=429)


class Clock:
    def __init__(self) -> None:
        self.now = START


class Worker:
    """A worker's view of the account, whose knowledge is always fresh, as it is a second later."""

    def __init__(self, redis: Redis, clock: Clock, **settings: Any) -> None:
        self.clock = clock
        self.slept = 0.0
        self.account = Account(redis, "shop", EspSettings(**settings), RedisClock(lambda: clock.now))

    def admit(self, mails: int = 1, kind: str = "transactional") -> Admission:
        self.account._synced_at = float("-inf")
        return self.account.admit(mails, kind, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def call(self, error: EspError | None = None, mails: int = 1) -> Admission:
        """Asks, calls if it may, and reports."""
        admission = self.admit(mails)
        if admission.mails:
            self.account.report(admission, 0 if error else admission.mails, error)
        return admission

    @property
    def learned(self) -> float:
        self.account._synced_at = float("-inf")
        return self.account.state.learned

    @property
    def breaker(self) -> str:
        self.account._synced_at = float("-inf")
        return self.account.state.breaker


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def library(redis: Redis) -> None:
    store.load(redis)


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


def trips(redis: Redis) -> int:
    stats: Any = redis.info("commandstats")
    return int(stats["cmdstat_fcall"]["calls"])


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


class TestRate:
    def test_workers_share_a_rate_exactly(self, redis: Redis, clock: Clock) -> None:
        workers = [Worker(redis, clock, rate=(10, SECOND)) for _ in range(3)]
        departures: list[int] = []
        while clock.now < START + 5 * SECOND:
            for worker in workers:
                admission = worker.admit(7)
                departures += [clock.now + round(admission.wait_s * 1000)] * admission.mails
            clock.now += 100
        assert len([at for at in departures if at < START + 5 * SECOND]) in range(44, 51)
        assert all(len([at for at in departures if start < at <= start + SECOND]) <= 17 for start in departures)

    @pytest.mark.parametrize(("rate", "together"), [((100, SECOND), 6), ((10, SECOND), 1), ((500, 3_600_000), 1)])
    def test_no_window_of_a_rate_has_more_mails_than_it_says(
        self, redis: Redis, clock: Clock, rate: tuple[int, int], together: int
    ) -> None:
        worker = Worker(redis, clock, rate=rate)
        mails, window = rate
        departures: list[int] = []
        step = max(1, window // mails // 3)
        while len(departures) < 3 * mails:
            # Pauses between the mails do not save up for more than a moment.
            if len(departures) % (mails // 2) == 0:
                clock.now += window // 7
            admission = worker.admit(1)
            if admission.mails and admission.wait_s == 0:
                departures.append(clock.now)
            elif admission.mails:
                worker.account.give_back(admission, 1)
            clock.now += step if admission.wait_s or not admission.mails else 0
        assert max(departures.count(at) for at in departures) <= together
        for number, at in enumerate(departures):
            assert len([other for other in departures[number : number + mails + 1] if other < at + window]) <= mails

    def test_a_batch_waits_for_its_last_turn_and_the_rest_comes_again(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock, rate=(20, SECOND))
        admission = worker.admit(100)
        # A slot each 50 ms, or a little more after the first two, within half a second.
        assert admission.mails == 11
        assert 0.45 <= admission.wait_s <= 0.5
        assert admission.reason == "limited"
        assert START + 500 < admission.due <= START + 560
        refused = worker.admit()
        assert (refused.mails, refused.reason) == (0, "limited")

    def test_marketing_mail_leaves_room_for_transactional_mail(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock, rate=(20, SECOND))
        assert worker.admit(100, "marketing").mails == 6
        assert worker.admit(1, "marketing").mails == 0
        assert worker.admit(1, "transactional").mails == 1

    def test_what_needed_no_turn_is_given_back_without_a_trip(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        admission, before = worker.admit(5), trips(redis)
        worker.account.give_back(admission, 5)
        assert trips(redis) == before

    def test_a_call_is_under_way_for_redis_only_where_calls_are_limited(self, redis: Redis, clock: Clock) -> None:
        assert Worker(redis, clock, rate=(10, SECOND)).admit().token == ""
        assert Worker(redis, clock, rate=(10, SECOND), max_in_flight=2).admit().token

    def test_what_did_not_leave_is_given_back(self, redis: Redis, clock: Clock) -> None:
        first, second = Worker(redis, clock, rate=(10, SECOND)), Worker(redis, clock, rate=(10, SECOND))
        admission = first.admit(5)
        assert admission.mails == 5
        first.account.give_back(admission, 4)
        assert second.admit(1).wait_s == pytest.approx(0.1, abs=0.001)


class TestCallsAtOnce:
    def test_workers_share_the_calls_at_once(self, redis: Redis, clock: Clock) -> None:
        first, second = Worker(redis, clock, max_in_flight=2), Worker(redis, clock, max_in_flight=2)
        batch, single = first.admit(5), second.admit()
        assert (batch.mails, single.mails) == (5, 1)
        first.account.report(batch, 5, None)
        assert second.admit().mails == 1
        refused = first.admit()
        assert (refused.mails, refused.reason) == (0, "limited")
        assert first.slept > 0

    def test_a_place_is_taken_as_soon_as_a_call_is_over(self, redis: Redis, clock: Clock) -> None:
        first, second = Worker(redis, clock, max_in_flight=1), Worker(redis, clock, max_in_flight=1)
        admission = first.admit()
        second.sleep = lambda seconds: first.account.report(admission, 1, None)  # type: ignore[method-assign]
        assert second.admit().mails == 1

    def test_the_place_of_a_dead_worker_is_free_after_its_deadline(self, redis: Redis, clock: Clock) -> None:
        dead, other = Worker(redis, clock, max_in_flight=1), Worker(redis, clock, max_in_flight=1)
        dead.admit()
        clock.now += 15 * SECOND - 1
        assert other.admit().mails == 0
        clock.now += 1
        assert other.admit().mails == 1

    def test_a_call_that_was_not_made_gives_its_place_back(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock, max_in_flight=1)
        worker.account.give_back(worker.admit(), 1)
        assert worker.admit().mails == 1


class TestPause:
    def test_retry_after_stops_all_workers_until_then(self, redis: Redis, clock: Clock) -> None:
        first, second = Worker(redis, clock), Worker(redis, clock)
        first.call(EspError("429", status=429, retry_after_s=7.0))
        refused = second.admit()
        assert (refused.mails, refused.reason, refused.due) == (0, "limited", START + 7 * SECOND)
        clock.now += 7 * SECOND
        assert second.admit().mails == 1

    def test_a_long_pause_holds_when_the_limit_is_forgotten(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        worker.call(EspError("429", status=429, retry_after_s=600.0))
        clock.now += 599 * SECOND
        refused = worker.admit()
        assert worker.account.state.learned == 0
        assert (refused.mails, refused.due) == (0, START + 600 * SECOND)

    def test_a_pause_is_a_second_at_least_and_ten_minutes_at_most(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        for asked, pause in ((None, 1), (0.1, 1), (86_400.0, 600)):
            worker.call(EspError("429", status=429, retry_after_s=asked))
            assert worker.admit().due == clock.now + pause * SECOND
            clock.now += pause * SECOND

    def test_a_429_that_names_no_pause_stops_nobody_while_mails_are_taken(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        worker.call()
        worker.call(LIMITED)
        assert worker.admit().mails == 1
        clock.now += 3 * SECOND
        worker.call(LIMITED)
        assert worker.admit().due == clock.now + SECOND


class TestLearning:
    def limit(self, worker: Worker, taken: int = 50) -> None:
        """The account takes so many mails, and answers the next calls with 429."""
        worker.call(mails=taken)
        for admission in [worker.admit() for _ in range(25)]:
            worker.account.report(admission, 0, LIMITED)

    def test_the_rate_falls_below_what_was_taken_and_grows_until_it_is_forgotten(
        self, redis: Redis, clock: Clock
    ) -> None:
        worker = Worker(redis, clock)
        self.limit(worker)
        rates = []
        for _ in range(10):
            rates.append(worker.learned)
            clock.now += 5 * SECOND
        assert rates == pytest.approx([35, 42.5, 50, 57.5, 65, 72.5, 80, 87.5, 95, 0], abs=0.01)
        clock.now -= 40 * SECOND
        assert worker.admit(1).mails == 1
        limited = worker.admit(1000)
        assert 20 < limited.mails < 40
        clock.now += 40 * SECOND
        assert worker.admit(1000).mails == 1000

    def test_what_was_taken_seconds_ago_says_nothing_about_now(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        worker.call(mails=1000)
        worker.admit()
        clock.now += 4 * SECOND
        self.limit(worker, 10)
        assert worker.learned == pytest.approx(7)

    def test_few_429_teach_nothing(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        for _ in range(100):
            for error in [None] * 9 + [LIMITED]:
                worker.call(error)
            clock.now += 100
        assert worker.learned == 0

    def test_calls_that_are_answered_together_teach_once(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        worker.call(mails=100)
        together = [worker.admit() for _ in range(30)]
        for admission in together:
            worker.account.report(admission, 0, LIMITED)
        assert worker.learned == pytest.approx(70)

    def test_what_is_learned_is_never_more_than_the_rate_that_is_set(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock, rate=(10, SECOND))
        worker.account.report(Admission(500), 500, None)
        for _ in range(25):
            worker.account.report(Admission(1), 0, LIMITED)
        assert worker.learned == pytest.approx(7)

    def test_the_slower_one_of_the_rate_and_of_what_was_learned_holds(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock, rate=(10, SECOND))
        redis.hset(f"{keys.account('shop')}state", mapping={"learned_at": clock.now, "peak": 1})
        clock.now += 2 * SECOND
        assert worker.admit(100).mails == 1, "a mail in a second at first"
        redis.hset(f"{keys.account('shop')}state", mapping={"learned_at": clock.now, "peak": 100})
        clock.now += 10 * SECOND
        assert worker.admit(100).mails == 6, "the rate that is set"

    def test_it_never_falls_to_nothing(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock)
        self.limit(worker, 1)
        for _ in range(300):
            worker.call(LIMITED)
            clock.now += SECOND
        assert worker.learned >= 0.1


class LimitingEsp:
    """Takes so many mails a second, after a burst of a second's at most, and answers 429 to a share of all the same."""

    def __init__(self, clock: Clock, rate: float = float("inf"), share: float = 0.0) -> None:
        self.clock, self.rate, self.share = clock, rate, share
        self.dice = random.Random(7)
        self.tokens, self.at = rate, clock.now
        self.taken = self.limited = 0

    def call(self) -> EspError | None:
        self.tokens = min(self.rate, self.tokens + self.rate * (self.clock.now - self.at) / 1000)
        self.at = self.clock.now
        if self.dice.random() < self.share or self.tokens < 1:
            self.limited += 1
            return LIMITED
        self.tokens -= 1
        self.taken += 1
        return None


def send_for(worker: Worker, esp: LimitingEsp, seconds: int, demand: int = 100) -> None:
    """A worker with a backlog tries `demand` mails a second, for so long."""
    for _ in range(seconds * demand):
        worker.clock.now += SECOND // demand
        admission = worker.account.admit(1, "marketing", worker.sleep)
        if admission.mails and admission.wait_s > 0:
            # Its turn is not now: somebody else's try comes then.
            worker.account.give_back(admission, 1)
        elif admission.mails:
            error = esp.call()
            worker.account.report(admission, 0 if error else 1, error)


class TestLaw:
    """What a learned limit does to an account with a backlog of mails."""

    @pytest.fixture
    def worker(self, redis: Redis, clock: Clock) -> Worker:
        worker = Worker(redis, clock)
        worker.account._sync_interval_s = 0.0
        return worker

    @pytest.mark.parametrize("share", [0.05, 0.25])
    def test_429_that_do_not_depend_on_the_rate_do_not_slow_the_account_down(
        self, worker: Worker, clock: Clock, share: float
    ) -> None:
        esp = LimitingEsp(clock, share=share)
        send_for(worker, esp, 60)
        assert esp.taken > 0.6 * (1 - share) * 60 * 100

    @pytest.mark.parametrize("rate", [5, 20])
    def test_a_limit_of_the_account_is_used_and_seldom_exceeded(self, worker: Worker, clock: Clock, rate: int) -> None:
        esp = LimitingEsp(clock, rate)
        send_for(worker, esp, 20, demand=2 * rate)
        esp.taken = esp.limited = 0
        send_for(worker, esp, 90, demand=2 * rate)
        assert esp.taken > 0.8 * rate * 90
        assert esp.limited < 0.1 * esp.taken

    def test_an_account_that_takes_nothing_for_a_minute_is_left_alone_and_recovers_within_another(
        self, worker: Worker, clock: Clock
    ) -> None:
        esp = LimitingEsp(clock)
        send_for(worker, esp, 5, demand=50)
        esp.share, esp.taken = 1.0, 0
        send_for(worker, esp, 60, demand=50)
        assert esp.taken == 0
        assert esp.limited < 200
        esp.share = 0.0
        send_for(worker, esp, 45, demand=50)
        before = esp.taken
        send_for(worker, esp, 5, demand=50)
        assert esp.taken - before > 240


class TestPace:
    def take(self, redis: Redis, clock: Clock, mails: int, rate: Any = None, ramp: Any = None) -> int:
        asked = {"mails": mails} | ({"rate": rate} if rate else {}) | ({"ramp": ramp} if ramp else {})
        reply: Any = fcall(redis, "pace", keys.account("shop"), clock.now, msgspec.msgpack.encode(asked))
        return int(reply[1])

    def test_a_pace_lets_one_mail_leave_after_the_other(self, redis: Redis, clock: Clock) -> None:
        taken = []
        while clock.now < START + 3_600_000:
            taken += [clock.now] * self.take(redis, clock, 100, (500, 3_600_000))
            clock.now += 500
        assert len(taken) in range(480, 501)
        assert min(later - earlier for earlier, later in zip(taken, taken[1:], strict=False)) >= 7000

    def test_what_is_given_back_leaves_at_once(self, redis: Redis, clock: Clock) -> None:
        pace = (500, 3_600_000)
        assert self.take(redis, clock, 1, pace) == 1
        assert self.take(redis, clock, 1, pace) == 0
        self.take(redis, clock, -1, pace)
        assert self.take(redis, clock, 5, pace) == 1

    def test_a_ramp_grows_from_day_to_day_until_it_is_over(self, redis: Redis, clock: Clock) -> None:
        ramp = ("50/d x2 to 300/d", 50, 2.0, 300)
        days = []
        for day in range(3):
            clock.now = START + day * 86_400_000
            taken = 0
            while clock.now < START + (day + 1) * 86_400_000:
                taken += self.take(redis, clock, 100, None, ramp)
                clock.now += 30_000
            days.append(taken)
        for taken, expected in zip(days, (50, 100, 200), strict=True):
            assert 0.95 * expected <= taken <= expected
        assert self.take(redis, clock, 1000, None, ramp) == 1000, "400 a day would be more than its end"
        assert self.take(redis, clock, 1000, (20, SECOND), ramp) < 5, "the pace still holds"

    def test_another_ramp_begins_with_its_first_day(self, redis: Redis, clock: Clock) -> None:
        self.take(redis, clock, 1, None, ("50/d x2 to 300/d", 50, 2.0, 300))
        clock.now += 10 * 86_400_000
        assert self.take(redis, clock, 1000, None, ("60/d x2 to 300/d", 60, 2.0, 300)) == 1

    def test_the_slower_of_pace_and_ramp_holds(self, redis: Redis, clock: Clock) -> None:
        ramp = ("50/d x2 to 300/d", 50, 2.0, 300)
        assert self.take(redis, clock, 10, (10, 86_400_000), ramp) == 1
        clock.now += 86_400_000 // 40
        assert self.take(redis, clock, 10, (10, 86_400_000), ramp) == 0

    def test_it_is_kept_for_longer_than_a_year(self, redis: Redis, clock: Clock) -> None:
        self.take(redis, clock, 1, (10, 86_400_000))
        assert redis.ttl(f"{keys.account('shop')}pace") > 365 * 86_400
