"""Every spelling of a time that CDPs send, and what is no time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.sources.reading.timestamps import time_ms

MOMENT = 1_422_837_008_276
WHOLE = 1_422_837_008_000


@pytest.mark.parametrize(
    ("spelling", "ms"),
    [
        ("2015-02-02T00:30:08.276Z", MOMENT),
        ("2015-2-02T00:30:08.276Z", MOMENT),
        ("2015-2-2T0:30:8.276Z", MOMENT),
        ("2015-02-02T00:30:08.276123+00:00", MOMENT),
        ("2015-02-02T00:30:08.276999999Z", MOMENT),
        ("2015-02-02T00:30:08,276Z", MOMENT),
        ("2015-02-02 00:30:08.276", MOMENT),
        ("2015-02-02T01:30:08.276+01:00", MOMENT),
        ("2015-02-01T19:00:08.276-0530", MOMENT),
        ("2015-2-1T19:00:08.276-05:30", MOMENT),
        (" 2015-02-02T00:30:08.276z ", MOMENT),
        ("2015-02-02T00:30:08Z", WHOLE),
        ("2015-02-02T00:30Z", 1_422_837_000_000),
        ("2015-02-02", 1_422_835_200_000),
        (MOMENT, MOMENT),
        (1_422_837_008, WHOLE),
        (1_422_837_008.276, MOMENT),
        (float(MOMENT), MOMENT),
        (str(MOMENT), MOMENT),
        ("1422837008", WHOLE),
        ("1422837008.276", MOMENT),
        ("2000-01-01T00:00:00Z", 946_684_800_000),
    ],
)
def test_each_spelling_of_a_moment_is_read_as_that_moment(spelling: Any, ms: int) -> None:
    assert time_ms(spelling) == ms


@pytest.mark.parametrize(
    "impossible",
    [
        *(None, "", " ", "now", "2015-13-02T00:00:00Z", "2015-02-30T00:00:00Z", "2015-02-02T25:00:00Z", "2015-W05-1x"),
        *("1999-12-31T23:59:59.999Z", "-1422837008", -1, 0, 1, 7_200, "20150202", "0001-01-01T00:00:00+14:00"),
        *(True, [], {}, b"2015-02-02", float("nan"), float("inf"), 10**400, 1e300, "9" * 400, "2015-2-2T00:61:00Z"),
        *("\ud83d", "٢٠١٥-02-02", "2015-02-02T00:30:08.276Z and more"),
    ],
    ids=repr,
)
def test_what_cannot_be_a_time_of_an_event_is_none(impossible: Any) -> None:
    assert time_ms(impossible) is None


@given(st.datetimes(datetime(2000, 1, 1), datetime(9998, 12, 31)), st.integers(-14 * 60, 14 * 60))
def test_iso_texts_are_exact_to_the_millisecond(moment: datetime, offset_minutes: int) -> None:
    exact = (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert time_ms(moment.isoformat() + "Z") == exact
    shifted = moment + timedelta(minutes=offset_minutes)
    sign = "-" if offset_minutes < 0 else "+"
    text = f"{shifted.isoformat()}{sign}{abs(offset_minutes) // 60:02}:{abs(offset_minutes) % 60:02}"
    assert time_ms(text) == exact
