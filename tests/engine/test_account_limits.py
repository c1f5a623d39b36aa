"""An account's limits, which all workers share: rate, calls at once, and what is learned from 429."""

from __future__ import annotations

import random

import pytest
from redis import Redis

from freshgate.errors import EspError
from freshgate.state import keys
from tests.engine.accounts import LIMITED, SECOND, Clock, Worker, trips
from tests.engine.world import START
from workers.account import Admission

pytestmark = pytest.mark.usefixtures("library")


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
        assert (refused.mails, refused.reason, refused.due) == (0, "limited", START + 500)
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

    def test_answers_to_calls_that_were_on_their_way_teach_nothing_later_either(
        self, redis: Redis, clock: Clock
    ) -> None:
        worker = Worker(redis, clock)
        worker.call(mails=100)
        for admission in [worker.admit() for _ in range(60)]:
            worker.account.report(admission, 0, LIMITED)
        clock.now += 7 * SECOND
        worker.call(mails=30)
        clock.now += SECOND
        worker.call(LIMITED)
        assert worker.learned == pytest.approx(94, abs=0.01), (
            "what the first of them taught, and eight seconds of growth"
        )

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

    def test_a_rate_of_a_few_mails_an_hour_is_not_taught_a_lower_one(self, redis: Redis, clock: Clock) -> None:
        worker = Worker(redis, clock, rate=(5, 3_600_000))
        worker.account.report(Admission(5), 5, None)
        for _ in range(25):
            worker.account.report(Admission(1), 0, LIMITED)
        assert worker.learned == 0.1, "a mail in ten seconds, or nothing would tell that the limit is gone"


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
