"""Redis' clock as processes know it: a host that is off goes by it all the same, and reports how far it is off."""

from __future__ import annotations

from freshgate.clock import now_ms
from freshgate.state.clock import RedisClock

HOUR_MS = 3_600_000


def test_a_process_goes_by_redis_clock_and_reports_how_far_its_host_is_off() -> None:
    skews: list[float] = []
    clock = RedisClock(report_skew=skews.append)
    redis_ms = now_ms() - HOUR_MS
    clock.set(redis_ms)
    assert redis_ms <= clock.now() < redis_ms + HOUR_MS // 2
    assert round(skews[0] / 3600) == 1


def test_between_two_trips_the_clock_goes_on() -> None:
    clock = RedisClock()
    clock.set(1000)
    readings = [clock.now() for _ in range(3)]
    assert readings == sorted(readings)
    assert readings[0] >= 1000


def test_a_fixed_clock_is_handed_to_redis_and_never_moved() -> None:
    clock = RedisClock(lambda: 7)
    clock.set(1000)
    assert (clock.now(), clock.override) == (7, 7)
    assert RedisClock().override == ""
