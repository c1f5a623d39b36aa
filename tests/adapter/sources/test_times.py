"""Every spelling of a time that CDPs send, and what is no time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.sources.reading.timestamps import Occurrence, occurrence, time_ms
from freshgate.clock import AHEAD_MS

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
        # BigQuery, Go and Java count smaller units.
        (MOMENT * 1000, MOMENT),
        (MOMENT * 1_000_000 + 999_999, MOMENT),
        (str(MOMENT * 1000), MOMENT),
        (str(MOMENT * 1_000_000), MOMENT),
        ("1.422837008276E9", MOMENT),
        # ISO's basic form, as in file names and AWS.
        ("20150202T003008Z", WHOLE),
        ("20150202T003008.276Z", MOMENT),
        ("20150202T013008+0100", WHOLE),
        ("20150202003008", WHOLE),
        (20150202003008, WHOLE),
        ("20150202", 1_422_835_200_000),
        # Mails, HTTP, and the browser's two forms.
        ("Mon, 02 Feb 2015 00:30:08 +0000", WHOLE),
        ("2 Feb 2015 00:30:08 GMT", WHOLE),
        ("Sun, 01 Feb 2015 19:30:08 EST", WHOLE),
        ("Monday, 02-Feb-15 00:30:08 GMT", WHOLE),
        ("Mon Feb 02 2015 01:30:08 GMT+0100 (Central European Standard Time)", WHOLE),
        ("Mon Feb 02 2015 00:30:08 GMT+0000 (Coordinated Universal Time)", WHOLE),
        # date(1), Java's Date, Java's ZonedDateTime, Go's Time, Ruby's Time, PostgreSQL, .NET.
        ("Mon Feb  2 00:30:08 UTC 2015", WHOLE),
        ("Mon Feb 02 01:30:08 CET 2015", WHOLE),
        ("2015-02-02T01:30:08.276+01:00[Europe/Paris]", MOMENT),
        ("2015-02-02 01:30:08.276123456 +0100 CET m=+0.000012", MOMENT),
        ("2015-02-02 01:30:08 +0100", WHOLE),
        ("2015-02-02 00:30:08.276+00", MOMENT),
        ("/Date(1422837008276)/", MOMENT),
        ("/Date(1422837008276+0100)/", MOMENT),
        # Documents of Mongo, Parse and Firestore.
        ({"$date": {"$numberLong": "1422837008276"}}, MOMENT),
        ({"$date": "2015-02-02T00:30:08.276Z"}, MOMENT),
        ({"__type": "Date", "iso": "2015-02-02T00:30:08.276Z"}, MOMENT),
        ({"_seconds": 1_422_837_008, "_nanoseconds": 276_000_000}, MOMENT),
        # Slashes and dots, where there is one reading only.
        ("2015/02/02 00:30:08", WHOLE),
        ("02.02.2015 00:30:08", WHOLE),
        ("2/2/2015, 12:30:08 AM", WHOLE),
        ("1/31/2015", 1_422_662_400_000),
        ("31/01/2015", 1_422_662_400_000),
        ("31.1.2015", 1_422_662_400_000),
        ("February 2nd, 2015", 1_422_835_200_000),
        ("Feb 2, 2015, 12:30:08\u202fAM", WHOLE),
        ("\u200e2\u200e/\u200e2\u200e/\u200e2015 00:30:08", WHOLE),
        # A leap second.
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
    ],
    ids=repr,
)
def test_each_spelling_of_a_moment_is_read_as_that_moment(spelling: Any, ms: int) -> None:
    assert time_ms(spelling) == ms


@pytest.mark.parametrize(
    "impossible",
    [
        *(None, "", " ", "now", "2015-13-02T00:00:00Z", "2015-02-30T00:00:00Z", "2015-02-02T25:00:00Z", "2015-W05-1x"),
        *("1999-12-31T23:59:59.999Z", "-1422837008", -1, 0, 1, 7_200, "2015020", "0001-01-01T00:00:00+14:00"),
        *(True, [], {}, b"2015-02-02", float("nan"), float("inf"), 10**400, 1e300, "9" * 400, "2015-2-2T00:61:00Z"),
        *("\ud83d", "٢٠١٥-02-02", "2015-02-02T00:30:08.276Z and more"),
        # Two readings each: day or month, CST of China or of Chicago, a year of two digits.
        *("02/03/2015", "2-3-2015", "Mon Feb 02 00:30:08 CST 2015", "15 Feb 02", "02/02/15"),
        # The weekday is another date's; no such zone, hour, month or day.
        *("Tue, 02 Feb 2015 00:30:08 GMT", "Mon, 02 Feb 2015 00:30:08 XYZ", "2/2/2015 13:30:08 PM", "2 Fex 2015"),
        *("2015-02-02T00:30:08+25:00", "30.2.2015", "20151302T000000Z", "/Date()/", "/Date(12)/", "Invalid Date"),
        *({"iso": {}}, {"$date": {"$date": {"$date": MOMENT}}}, {"seconds": "1422837008"}, [MOMENT], {"year": 2015}),
        # Days since 1900 or 1970, ticks of .NET and of Windows.
        *(42_037.02, 16_468, 635_584_338_082_760_000, 130_673_106_082_760_000),
    ],
    ids=repr,
)
def test_what_cannot_be_a_time_of_an_event_is_none(impossible: Any) -> None:
    assert time_ms(impossible) is None


@settings(deadline=None)
@given(st.datetimes(datetime(2000, 1, 1), datetime(9998, 12, 31)), st.integers(-14 * 60, 14 * 60))
def test_iso_texts_are_exact_to_the_millisecond(moment: datetime, offset_minutes: int) -> None:
    exact = (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert time_ms(moment.isoformat() + "Z") == exact
    shifted = moment + timedelta(minutes=offset_minutes)
    sign = "-" if offset_minutes < 0 else "+"
    text = f"{shifted.isoformat()}{sign}{abs(offset_minutes) // 60:02}:{abs(offset_minutes) % 60:02}"
    assert time_ms(text) == exact


HOUR_MS = 3_600_000
# 2026-09-21T14:14:00Z
RECEIVED_AT = 1_790_000_040_000


def text_of(ms: int, form: str = "%Y-%m-%dT%H:%M:%S") -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)).strftime(form)


def iso(ms: int) -> str:
    return text_of(ms) + "Z"


@pytest.mark.parametrize("unreadable", ["yesterday", "05/11/2026", True, [], {}, "Invalid Date", "1998-05-01", -1])
def test_a_time_that_cannot_be_read_is_named_and_the_event_counts_from_its_sending(unreadable: Any) -> None:
    sent_at = RECEIVED_AT - 60_000
    assert occurrence((unreadable,), (iso(sent_at),), RECEIVED_AT) == Occurrence(sent_at, unreadable=True)
    assert occurrence((unreadable, None), (), RECEIVED_AT) == Occurrence(RECEIVED_AT, unreadable=True)


@pytest.mark.parametrize(
    "unset", [None, "", " ", 0, "0", 0.0, "0000-00-00 00:00:00", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"]
)
def test_a_time_that_was_never_set_is_that_of_the_sending_and_nothing_is_unreadable(unset: Any) -> None:
    sent_at = RECEIVED_AT - 60_000
    assert occurrence((unset,), (iso(sent_at),), RECEIVED_AT) == Occurrence(sent_at)


def test_where_only_a_time_of_sending_was_sent_and_cannot_be_read_the_event_has_no_time() -> None:
    assert occurrence((None,), ("gestern", None), RECEIVED_AT) == Occurrence(RECEIVED_AT, unreadable=True)
    assert occurrence((None,), ("gestern", iso(RECEIVED_AT)), RECEIVED_AT) == Occurrence(RECEIVED_AT)


def test_the_second_of_two_stated_times_counts_where_the_first_cannot_be_read() -> None:
    stated = RECEIVED_AT - 3 * HOUR_MS
    assert occurrence(("gestern", iso(stated)), (iso(RECEIVED_AT),), RECEIVED_AT) == Occurrence(stated)


@pytest.mark.parametrize("offset_minutes", [-660, -480, -300, -210, -60, 0, 60, 120, 330, 345, 570, 765, 840])
@pytest.mark.parametrize("lag_ms", [0, 1000, 45_000, 300_000])
def test_a_local_time_is_placed_by_the_time_of_its_sending(offset_minutes: int, lag_ms: int) -> None:
    happened = RECEIVED_AT - 120_000 - lag_ms
    local = text_of(happened + offset_minutes * 60_000)
    for arrivals in ((iso(RECEIVED_AT - 120_000), None), (None, iso(RECEIVED_AT - 120_000))):
        assert occurrence((local,), arrivals, RECEIVED_AT) == Occurrence(happened, doubtful=True)


@pytest.mark.parametrize("age_ms", [30 * 60_000, 5 * HOUR_MS + 30 * 60_000, 13 * HOUR_MS, 80 * HOUR_MS])
def test_a_text_without_offset_is_utc_where_no_offset_explains_it(age_ms: int) -> None:
    stated = RECEIVED_AT - age_ms
    assert occurrence((text_of(stated),), (iso(RECEIVED_AT),), RECEIVED_AT) == Occurrence(stated, doubtful=True)


def test_a_text_without_offset_is_utc_where_nothing_beside_it_has_one() -> None:
    stated = RECEIVED_AT - 5 * HOUR_MS
    for arrivals in ((), (text_of(RECEIVED_AT),)):
        assert occurrence((text_of(stated),), arrivals, RECEIVED_AT) == Occurrence(stated, doubtful=True)


def test_a_local_time_ahead_of_our_clock_is_of_the_nearest_zone_east() -> None:
    stated = text_of(RECEIVED_AT + 9 * HOUR_MS - 20_000)
    assert occurrence((stated,), (), RECEIVED_AT) == Occurrence(RECEIVED_AT - 20_000, doubtful=True)


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y%m%d", "%d.%m.%Y", "%B %d, %Y"])
def test_a_date_alone_is_the_time_of_sending_on_that_day_and_else_its_midnight(form: str) -> None:
    sent_at = RECEIVED_AT - 60_000
    today = occurrence((text_of(sent_at, form),), (iso(sent_at),), RECEIVED_AT)
    assert today == Occurrence(sent_at, doubtful=True)
    three_days_ago = occurrence((text_of(sent_at - 72 * HOUR_MS, form),), (iso(sent_at),), RECEIVED_AT)
    assert three_days_ago == Occurrence(time_ms(text_of(sent_at - 72 * HOUR_MS, "%Y-%m-%d")) or 0, doubtful=True)


def test_a_future_time_is_replaced_by_that_of_its_arrival_at_the_cdp_before_that_of_its_sending() -> None:
    future, sent_at, cdp_received_at = (RECEIVED_AT + n for n in (AHEAD_MS + 1, -50_000, -40_000))
    clamped = occurrence((iso(future + 1000),), (iso(sent_at), iso(cdp_received_at)), RECEIVED_AT)
    assert clamped == Occurrence(cdp_received_at, clamped=True)


PRINTED = {
    "iso": lambda at: at.isoformat() + "Z",
    "iso_basic": lambda at: at.strftime("%Y%m%dT%H%M%S") + "Z",
    "iso_offset": lambda at: (at + timedelta(hours=5, minutes=30)).isoformat() + "+05:30",
    "rfc2822": lambda at: at.strftime("%a, %d %b %Y %H:%M:%S +0000"),
    "rfc2822_zone": lambda at: (at - timedelta(hours=8)).strftime("%a, %d %b %Y %H:%M:%S PST"),
    "javascript": lambda at: at.strftime("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)"),
    "java": lambda at: at.strftime("%a %b %d %H:%M:%S UTC %Y"),
    "ruby": lambda at: at.strftime("%Y-%m-%d %H:%M:%S +0000"),
    "seconds": lambda at: str(milliseconds(at) // 1000),
    "milliseconds": lambda at: str(milliseconds(at)),
    "microseconds": lambda at: str(milliseconds(at) * 1000),
    "nanoseconds": lambda at: str(milliseconds(at) * 1_000_000),
    "net": lambda at: f"/Date({milliseconds(at)})/",
}
SECONDS = st.datetimes(datetime(2001, 9, 10), datetime(2100, 1, 1)).map(lambda at: at.replace(microsecond=0))


def milliseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1)) // timedelta(milliseconds=1)


@settings(deadline=None)
@given(st.sampled_from(sorted(PRINTED)), SECONDS)
def test_a_printed_time_is_read_as_the_moment_that_was_printed(form: str, at: datetime) -> None:
    assert time_ms(PRINTED[form](at)) == milliseconds(at)


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(PRINTED)), SECONDS)
def test_a_broken_printed_time_is_that_moment_or_none(data: st.DataObject, form: str, at: datetime) -> None:
    """What was broken is known: no digit is changed, lost or added, so another moment would be made up."""
    text = PRINTED[form](at)
    how = data.draw(st.sampled_from(["letter", "case", "spaces", "invisible", "twice", "quoted"]))
    place = data.draw(st.integers(0, len(text)))
    if how == "letter":
        broken = text[:place] + data.draw(st.sampled_from("QXé#?*\ufffd\x00")) + text[place:]
    elif how == "case":
        broken = data.draw(st.sampled_from([text.upper(), text.lower(), text.swapcase()]))
    elif how == "spaces":
        broken = "\u00a0" + text.replace(" ", "  ") + "\t"
    elif how == "invisible":
        broken = text[:place] + data.draw(st.sampled_from("\u200b\ufeff\u200e\u00ad")) + text[place:]
    else:
        broken = f"{text} {text}" if how == "twice" else f'"{text}"'
    assert time_ms(broken) in (milliseconds(at), None)
