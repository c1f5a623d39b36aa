"""The slow path of `timestamps.py`: times as mails, browsers, languages and databases print them.

Strict: what could be two moments is none, such as 05/11/2026, or a weekday that is not the date's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

MAX_LENGTH = 100
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONTHS = {
    name: number
    for number, names in enumerate(
        ("jan january", "feb february", "mar march", "apr april", "may", "jun june", "jul july", "aug august")
        + ("sep sept september", "oct october", "nov november", "dec december"),
        1,
    )
    for name in names.split()
}
WEEKDAYS = {
    name: number
    for number, names in enumerate(
        ("mon monday", "tue tues tuesday", "wed wednesday", "thu thur thurs thursday", "fri friday", "sat saturday")
        + ("sun sunday",)
    )
    for name in names.split()
}
# Minutes. The first four pairs are RFC 2822's; of the others those that no second zone shares.
ZONES = {
    **{"est": -300, "edt": -240, "cdt": -300, "mst": -420, "mdt": -360, "pst": -480, "pdt": -420},
    **{"z": 0, "utc": 0, "gmt": 0, "ut": 0, "cet": 60, "cest": 120, "eet": 120, "eest": 180, "msk": 180, "jst": 540},
}
# CST is China's, too, except in a mail's date.
MAIL_ZONES = {**ZONES, "cst": -360}

_TIME = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:[.,](?P<fraction>\d{1,12}))?)?"
    r"(?: ?(?P<half>[ap])\.?m\.?)?"
)
_WEEKDAY = r"(?:(?P<weekday>[a-z]{3,9})\.?,? )?"
_MONTH = r"(?P<month_name>[a-z]{3,9})\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_ZONE = r"(?P<zone>.*)"


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.ASCII | re.IGNORECASE)


PATTERNS = (
    # 2026-11-23 01:25:00 +0100, 2026/11/23, 2015-2-02T00:30:08.276Z as on Segment's page (connections/spec/common.md)
    _pattern(rf"(?P<year>\d{{4}})(?P<mark>[-/.])(?P<month>\d{{1,2}})(?P=mark){_DAY}(?:(?:[T_]|,? ){_TIME}{_ZONE})?"),
    # 20261123T012500Z, 20261123012500
    _pattern(
        r"(?P<year>2[01]\d{2})(?P<month>\d{2})(?P<day>\d{2})"
        r"(?:[T ]?(?P<hour>\d{2})(?P<minute>\d{2})(?:(?P<second>\d{2})(?:[.,]?(?P<fraction>\d{1,9}))?)?"
        rf"{_ZONE})?"
    ),
    # Mon, 23 Nov 2026 01:25:00 +0000; Monday, 23-Nov-26 01:25:00 GMT; 23 November 2026
    _pattern(
        rf"{_WEEKDAY}{_DAY}(?P<mark>[ -]){_MONTH}(?P=mark)(?P<year>\d{{4}}|\d{{2}})(?:,?(?: at)? {_TIME}{_ZONE})?"
    ),
    # Mon Nov 23 2026 01:25:00 GMT+0100 (CET); Nov 23, 2026, 1:25 PM
    _pattern(rf"{_WEEKDAY}{_MONTH} {_DAY},? (?P<year>\d{{4}})(?:,?(?: at)? {_TIME}{_ZONE})?"),
    # Mon Nov 23 01:25:00 UTC 2026
    _pattern(
        rf"{_WEEKDAY}{_MONTH} {_DAY} {_TIME}(?P<zone>(?: [a-z]{{1,4}})?(?:[+-]\d{{2}}:?\d{{2}})?) (?P<year>\d{{4}})"
    ),
    # 23.11.2026 01:25, 11/23/2026, 1:25:00 AM
    _pattern(
        rf"(?P<first>\d{{1,2}})(?P<mark>[/.-])(?P<other>\d{{1,2}})(?P=mark)(?P<year>\d{{4}})(?:,? {_TIME}{_ZONE})?"
    ),
)
MAIL = PATTERNS[2]
# Digits alone, with an exponent too, as BigQuery exports them; and .NET's /Date(1795396500000+0100)/.
NUMBER = re.compile(r"\d{1,20}(?:\.\d{1,20})?(?:[eE]\+?\d{1,2})?", re.ASCII)
NET_DATE = re.compile(r"\\?/Date\((\d{1,20})(?:[+-]\d{4})?\)\\?/", re.ASCII)
# Behind the offset: a browser's "(Central European Time)", Java's "[Europe/Berlin]", Go's "m=+0.01".
REMARK = re.compile(r" ?(?:\([^()]*\)|\[[^\[\]]*\]| m=[+-][\d.]+)\Z", re.ASCII)
OFFSET = _pattern(r"(?:z|utc|gmt|ut)? ?(?P<sign>[+-])(?P<hours>\d{1,2})(?::?(?P<minutes>\d{2}))?(?: [+-]?\w{1,5})?")
# Names under which Mongo, Parse and Firestore wrap a time.
WRAPPED = ("$date", "$numberLong", "iso")
SECONDS = (("_seconds", "_nanoseconds"), ("seconds", "nanoseconds"), ("seconds", "nanos"))


FromNumber = Callable[[int | float], int | None]


class Moment(NamedTuple):
    """A time (ms UTC). "local" has no offset, and is read as if it was UTC; "day" is a date alone, at its midnight."""

    ms: int
    precision: Literal["exact", "local", "day"]


def read_printed(value: Any, from_number: FromNumber, depth: int = 2) -> Moment | None:
    """The moment that a printed time means, or None. `from_number` reads a number (ms UTC)."""
    if type(value) is dict:
        return _read_wrapped(value, from_number, depth)
    if type(value) in (int, float):
        return _exact(from_number(value))
    if type(value) is not str or len(value) > MAX_LENGTH:
        return None
    text = _tidy(value)
    net_date = NET_DATE.fullmatch(text)
    digits = net_date.group(1) if net_date else text
    moment = None
    if NUMBER.fullmatch(digits):
        moment = _exact(from_number(int(digits) if digits.isdigit() else float(digits)))
    return moment if moment or net_date else _read_text(text)


def _exact(ms: int | None) -> Moment | None:
    return None if ms is None else Moment(ms, "exact")


def _read_text(text: str) -> Moment | None:
    for pattern in PATTERNS:
        match = pattern.fullmatch(text)
        if match is not None:
            try:
                return _moment(match.groupdict(), MAIL_ZONES if pattern is MAIL else ZONES)
            except (ValueError, KeyError, OverflowError):
                return None
    return None


def _read_wrapped(value: Mapping[str, Any], from_number: FromNumber, depth: int) -> Moment | None:
    if depth == 0:
        return None
    for name in WRAPPED:
        if name in value:
            return read_printed(value[name], from_number, depth - 1)
    for seconds, nanos in SECONDS:
        if type(value.get(seconds)) is int and type(value.get(nanos, 0)) is int and value.keys() <= {seconds, nanos}:
            ms = from_number(value[seconds])
            return None if ms is None else _exact(ms + value.get(nanos, 0) // 1_000_000)
    return None


def _tidy(text: str) -> str:
    """Without invisible characters, which Internet Explorer prints between the parts, and with plain spaces."""
    if not text.isascii():
        text = "".join(char for char in text if unicodedata.category(char) != "Cf").replace("\u2212", "-")
    return " ".join(text.split())


def _moment(parts: dict[str, str | None], zones: Mapping[str, int]) -> Moment:
    """Raises ValueError or KeyError where the parts are not one moment."""
    weekday = parts.get("weekday")
    year = int(parts["year"] or "")
    if year < 100:
        if weekday is None:  # 26 Nov 23 could be of 2026.
            raise ValueError
        year += 2000
    day, month = _day_and_month(parts)
    hour, minute, second = (int(parts.get(name) or 0) for name in ("hour", "minute", "second"))
    if half := parts.get("half"):
        if not 1 <= hour <= 12:
            raise ValueError
        hour = hour % 12 + (12 if half in "pP" else 0)
    leap = 1 if second == 60 else 0
    moment = datetime(year, month, day, hour, minute, second - leap, tzinfo=UTC) + timedelta(seconds=leap)
    if weekday is not None and WEEKDAYS[weekday.lower()] != datetime(year, month, day, tzinfo=UTC).weekday():
        raise ValueError
    ms = (moment - EPOCH) // timedelta(milliseconds=1) + int((parts.get("fraction") or "0")[:3].ljust(3, "0"))
    if parts.get("hour") is None:
        return Moment(ms, "day")
    offset = _offset_minutes(parts.get("zone") or "", zones)
    return Moment(ms, "local") if offset is None else Moment(ms - offset * 60_000, "exact")


def _day_and_month(parts: Mapping[str, str | None]) -> tuple[int, int]:
    if name := parts.get("month_name"):
        return int(parts["day"] or ""), MONTHS[name.lower()]
    if "first" not in parts:
        return int(parts["day"] or ""), int(parts["month"] or "")
    first, other = int(parts["first"] or ""), int(parts["other"] or "")
    # With dots the day stands first everywhere. With slashes only a day beyond 12 tells.
    if parts["mark"] == "." or first > 12 or first == other:
        return first, other
    if other > 12:
        return other, first
    raise ValueError


def _offset_minutes(zone: str, zones: Mapping[str, int]) -> int | None:
    """Minutes east of UTC; None where there is no zone."""
    while (shorter := REMARK.sub("", zone)) != zone:
        zone = shorter
    zone = zone.strip()
    if not zone:
        return None
    match = OFFSET.fullmatch(zone)
    if match is None:
        return zones[zone.lower()]
    hours, minutes = int(match["hours"]), int(match["minutes"] or 0)
    if minutes > 59 or hours * 60 + minutes > 14 * 60:
        raise ValueError
    return (hours * 60 + minutes) * (-1 if match["sign"] == "-" else 1)
