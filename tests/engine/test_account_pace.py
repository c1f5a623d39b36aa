"""The pace and the ramp of an account's marketing mail, which all workers share."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from redis import Redis

from freshgate.state import keys
from freshgate.state.store import fcall
from tests.engine.accounts import SECOND, Clock
from tests.engine.world import START

pytestmark = pytest.mark.usefixtures("library")


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
