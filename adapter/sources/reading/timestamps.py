"""Timestamps in any spelling → integer milliseconds UTC.

Every source kind reads times with it; what cannot be a time is None, and the caller takes the next best.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
# 2000-01-01, before any CDP existed: an earlier time is from a clock that was never set.
EARLIEST = 946_684_800_000
# 9999-12-31, the last day that `datetime` has.
LATEST = 253_402_300_799_999
# A number below it counts seconds: as milliseconds it would lie before 1973-03-03.
SECONDS_BELOW = 1e11

# How far a clock may be ahead of ours; a time further ahead is a mistake.
AHEAD_MS = 300_000

NUMBER = re.compile(r"\d{1,16}(?:\.\d+)?", re.ASCII)
# Segment's own page has `2015-2-02T00:30:08.276Z` (docs, connections/spec/common.md), which is not ISO 8601.
LOOSE = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[Tt ]+(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:[.,](\d+))?)?)?"
    r"\s*(?:([Zz]|UTC|GMT)|([+-])(\d{2}):?(\d{2})?)?",
    re.ASCII,
)


def occurrence(stated: int | None, cdp_received_at: Any, received_at: int) -> tuple[int, bool]:
    """When it happened (ms), and whether the stated time had to be replaced.

    stated           the element's own time (ms), if it has one
    cdp_received_at  when the CDP received it, as the payload says: it replaces a missing or future time, since it is
                     the same in every redelivery, which our clock is not
    """
    if stated is not None and stated <= received_at + AHEAD_MS:
        return stated, False
    fallback = time_ms(cdp_received_at)
    if fallback is not None and fallback <= received_at + AHEAD_MS:
        return fallback, stated is not None
    return received_at, stated is not None or fallback is not None


def time_ms(value: Any) -> int | None:
    """Milliseconds UTC of an ISO text, or of epoch seconds or milliseconds as number or text; None if impossible.

    A text without an offset is UTC. Times before 2000 are impossible, and so are negative ones.
    """
    if type(value) is str:
        try:
            moment = datetime.fromisoformat(value) if value[4:5] == "-" else _loose(value)
            if moment is None:
                return None
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            since = moment - EPOCH
            ms = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
        except (ValueError, OverflowError):
            unpadded_ms = _unpadded(value)
            if unpadded_ms is None:
                return None
            ms = unpadded_ms
        return ms if ms >= EARLIEST else None
    if type(value) is int or type(value) is float:
        return _from_number(value)
    return None


def _from_number(value: int | float) -> int | None:
    # NaN fails both comparisons.
    if not 0 < value <= LATEST:
        return None
    ms = round(value * 1000 if value < SECONDS_BELOW else value)
    return ms if EARLIEST <= ms <= LATEST else None


def _loose(text: str) -> datetime | None:
    text = text.strip()
    if NUMBER.fullmatch(text):
        ms = _from_number(float(text) if "." in text else int(text))
        return None if ms is None else EPOCH + ms * MILLISECOND
    ms = _unpadded(text)
    return None if ms is None else EPOCH + ms * MILLISECOND


def _unpadded(text: str) -> int | None:
    match = LOOSE.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, _, sign, off_hours, off_minutes = match.groups()
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC
        )
        offset = timedelta(hours=int(off_hours or 0), minutes=int(off_minutes or 0))
        ms = (moment - EPOCH) // MILLISECOND + int((fraction or "0")[:3].ljust(3, "0"))
    except (ValueError, OverflowError):
        return None
    return ms - (offset // MILLISECOND) * (-1 if sign == "-" else 1)
