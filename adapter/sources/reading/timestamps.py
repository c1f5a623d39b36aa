"""Times in any spelling → integer milliseconds UTC, and when an event occurred.

Every source kind reads times with it. The usual spellings are read here, the rest in `printed_times.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from adapter.sources.reading.printed_times import Moment, read_printed
from freshgate.clock import AHEAD_MS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
read_iso = datetime.fromisoformat
# 2000-01-01, before any CDP existed: an earlier time is from a clock that was never set.
EARLIEST = 946_684_800_000
# Below which a number counts seconds, milliseconds, microseconds, nanoseconds. The same digits in the next smaller unit
# would lie in the 1970s, so no number of our time is two moments.
SECONDS_BELOW, MILLIS_BELOW, MICROS_BELOW, NANOS_BELOW = 10**11, 10**14, 10**17, 10**20
# Numbers that print a date: 20261123, with 012500 behind it, and milliseconds. As times they would lie in 1970 or
# after 2600.
DATES_AS_NUMBERS = ((20_000_101, 22_000_101), (2 * 10**13, 22 * 10**12), (2 * 10**16, 22 * 10**15))

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
# Offsets that are in use west and east of UTC, in minutes, the nearest first.
WEST = (60, 120, 150, 180, 210, 240, 300, 360, 420, 480, 540, 570, 600, 660)
EAST = (
    60,
    120,
    180,
    210,
    240,
    270,
    300,
    330,
    345,
    360,
    390,
    420,
    480,
    525,
    540,
    570,
    600,
    630,
    660,
    720,
    765,
    780,
    840,
)
# A local time is told within so long of what happened, if a whole offset is all that lies between it and `sentAt`.
MAX_LOCAL_LAG_MS = 10 * MINUTE_MS
# From when to when after its midnight UTC somebody calls a day today, from Kiribati to California.
DAY_BEGINS_MS, DAY_ENDS_MS = -14 * HOUR_MS, 32 * HOUR_MS
# What a database, Go, .NET or PHP writes for "not set".
UNSET_TEXTS = ("0000-00-00", "0001-01-01", "1970-01-01")


class Occurrence(NamedTuple):
    """When an event occurred (ms), and how sure that is.

    clamped     the stated time lay in the future, and was replaced
    unreadable  a time was stated that cannot be read: `at` is when it was sent or received, and it may be older
    doubtful    the stated time has no offset, or is a date alone, so `at` is the best reading of it
    """

    at: int
    clamped: bool = False
    unreadable: bool = False
    doubtful: bool = False


def occurred_at(
    stated: Sequence[Any], arrivals: Sequence[Any], received_at: int, unreadable: list[str], doubtful: list[str]
) -> tuple[int, bool]:
    """`at` and `clamped` of `occurrence`. Adds "occurred_at" to the names of what cannot be read, or is doubtful."""
    usual = None
    for value in stated:
        if value is not None and value != "":
            usual = exact_ms(value)
            break
    if usual is not None and usual <= received_at + AHEAD_MS:
        return usual, False
    at, clamped, is_unreadable, is_doubtful = occurrence(stated, arrivals, received_at)
    if is_unreadable:
        unreadable.append("occurred_at")
    if is_doubtful:
        doubtful.append("occurred_at")
    return at, clamped


def occurrence(stated: Sequence[Any], arrivals: Sequence[Any], received_at: int) -> Occurrence:
    """When it happened.

    stated       the element's own times, as sent, best first
    arrivals     when it was sent, and received by the CDP, as the payload says. They replace a missing or future time,
                 since they are the same in every redelivery, which our clock is not
    received_at  when it reached us (ms)
    """
    at, unreadable, doubtful = stated_time(stated, arrivals, received_at)
    latest = received_at + AHEAD_MS
    if at is not None and at <= latest:
        return Occurrence(at, False, False, doubtful)
    clamped = at is not None
    # A clock that is ahead is so when it sends, too.
    for arrival in map(time_ms, reversed(arrivals) if clamped else arrivals):
        if arrival is not None and arrival <= latest:
            return Occurrence(arrival, clamped, unreadable)
        clamped = clamped or arrival is not None
    # With nothing else stated, the times of its sending were the event's own.
    is_lost = not clamped and not all(map(_is_unset, arrivals))
    return Occurrence(received_at, clamped, unreadable or is_lost)


def stated_time(values: Sequence[Any], arrivals: Sequence[Any], received_at: int) -> tuple[int | None, bool, bool]:
    """The first of the values that can be read (ms), whether there are only others, and whether it is doubtful."""
    unreadable = False
    for value in values:
        at = exact_ms(value)
        if at is not None:
            return at, False, False
        if value is None or value == "":
            continue
        moment = _read_slowly(value)
        if moment is not None:
            return _placed(moment, arrivals, received_at), False, moment.precision != "exact"
        unreadable = unreadable or not _is_unset(value)
    return None, unreadable, False


def exact_ms(value: Any) -> int | None:
    """Milliseconds UTC of an ISO text with an offset, or of a number: what CDPs usually send. None for the rest."""
    if type(value) is str:
        try:
            since = read_iso(value) - EPOCH
        except (ValueError, TypeError, OverflowError):  # TypeError: it has no offset.
            return None
        ms = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
        # Without dashes digits may be meant otherwise.
        return ms if ms >= EARLIEST and value[4] == "-" else None
    return _from_number(value) if type(value) is int or type(value) is float else None


def time_ms(value: Any) -> int | None:
    """Milliseconds UTC of a time in any spelling; None for what is not one, and before 2000.

    Numbers are seconds, milliseconds, microseconds or nanoseconds, by their size. A text without an offset is UTC.
    """
    at = exact_ms(value)
    if at is not None or value is None:
        return at
    moment = _read_slowly(value)
    return moment.ms if moment else None


def _read_slowly(value: Any) -> Moment | None:
    if type(value) is int and any(low <= value < high for low, high in DATES_AS_NUMBERS):
        value = str(value)
    moment = read_printed(value, _from_number)
    return moment if moment is not None and moment.ms >= EARLIEST else None


def _from_number(value: int | float) -> int | None:
    if EARLIEST <= value < DATES_AS_NUMBERS[1][0]:
        return round(value)
    # NaN fails every comparison.
    if not 0 < value < NANOS_BELOW or any(low <= value < high for low, high in DATES_AS_NUMBERS):
        return None
    if value < SECONDS_BELOW:
        ms = round(value * 1000)
    elif value < MILLIS_BELOW:
        ms = round(value)
    else:
        ms = int(value) // (1000 if value < MICROS_BELOW else 1_000_000)
    return ms if ms >= EARLIEST else None


def _placed(moment: Moment, arrivals: Sequence[Any], received_at: int) -> int:
    """The moment (ms) of a local time or a date, by the times of its sending and arrival."""
    if moment.precision == "exact":
        return moment.ms
    sent_at = next((at for at in map(exact_ms, arrivals) if at is not None), None)
    if moment.precision == "day":
        reference = received_at if sent_at is None else sent_at
        is_today = DAY_BEGINS_MS <= reference - moment.ms < DAY_ENDS_MS
        return reference if is_today else moment.ms
    if sent_at is None:
        # Only what lies ahead of our own clock is surely not UTC.
        return moment.ms if moment.ms <= received_at + AHEAD_MS else moment.ms - _east_ms(moment.ms - received_at)
    if moment.ms > sent_at + AHEAD_MS:
        return moment.ms - _east_ms(moment.ms - sent_at)
    lag = sent_at - moment.ms
    for offset in WEST:
        if -MINUTE_MS <= lag - offset * MINUTE_MS < MAX_LOCAL_LAG_MS:
            return moment.ms + offset * MINUTE_MS
    return moment.ms


def _east_ms(ahead: int) -> int:
    """The smallest offset in use that explains why a time lies ahead; 0 where none does."""
    return next((offset * MINUTE_MS for offset in EAST if offset * MINUTE_MS >= ahead - MINUTE_MS), 0)


def _is_unset(value: Any) -> bool:
    """Whether the value says that there is no time, as 0 and `0000-00-00` do."""
    if value is None:
        return True
    if type(value) is str:
        text = value.strip()
        return text in ("", "0") or text.startswith(UNSET_TEXTS)
    return type(value) in (int, float) and value == 0
