"""Every spelling of an amount that shops send, and what is none, or could be two."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.sources.reading.converters import money
from freshgate.currencies import THREE_DECIMALS


@pytest.mark.parametrize(
    ("spelling", "amount"),
    [
        *((1299, "1299"), (1299.0, "1299.0"), (0, "0"), (59.97, "59.97"), ("39.95", "39.95"), (" 12 ", "12")),
        *(("1299.0000", "1299.0000"), ("-5.00", "-5.00"), ("0.125", "0.125"), ("1299.000", "1299.000")),
        # As printed: in the US, Germany, France, Switzerland, India, Sweden, Brazil, Poland, Russia.
        *(("$1,299.00", "1299.00"), ("1.299,00", "1299.00"), ("1.299,00 €", "1299.00"), ("€ 12,50", "12.50")),
        *(("1\u202f299,00\u00a0€", "1299.00"), ("CHF 1’299.50", "1299.50"), ("1'299.–", "1299"), ("12,-", "12")),
        *(("₹1,29,999.00", "129999.00"), ("1 299,00 kr", "1299.00"), ("R$ 1.234,56", "1234.56")),
        *(("1299,99 zł", "1299.99"), ("1 299 руб.", "1299"), ("US$12", "12"), ("12.00 USD", "12.00"), ("eur 5", "5")),
        # Three digits behind one mark are thousands beside a currency, and beside two groups.
        *(("$1,299", "1299"), ("1.299 €", "1299"), ("1,299,000", "1299000"), ("1.299.000,5", "1299000.5")),
        # Given back: a minus, its typographic sign, behind the number, or an accountant's brackets.
        *(("-$5.00", "-5.00"), ("$-5.00", "-5.00"), ("\u22125,00", "-5.00"), ("5.00-", "-5.00"), ("(5.00)", "-5.00")),
        # Shopify, commercetools.
        *(({"amount": "12.00", "currencyCode": "EUR"}, "12.00"), ({"amount": 12, "currencyCode": "EUR"}, "12")),
        *(({"amount": "12.500", "currency_code": "KWD"}, "12.500"), ({"value": "9.90", "currency": "EUR"}, "9.90")),
        ({"shop_money": {"amount": "12.00", "currency_code": "EUR"}}, "12.00"),
        ({"type": "centPrecision", "centAmount": 1299, "currencyCode": "EUR", "fractionDigits": 2}, "12.99"),
        ({"centAmount": 1299, "currencyCode": "JPY", "fractionDigits": 0}, "1299"),
    ],
    ids=repr,
)
def test_each_spelling_of_an_amount_is_read_as_that_amount(spelling: Any, amount: str) -> None:
    assert str(money(spelling)) == amount


@pytest.mark.parametrize(
    "spelling",
    [
        *("", " ", "free", "$", "NaN", "1e3", "12.00-15.00", "from 12.00", "5 x 12.00", "12 €/kg", "10 %", "10 PCS"),
        *("+5.00", "-5-", "(5.00", "1.2.3", "1,29,9", "12..5", "1,299,00", "1.299.00", "0.299,00", "1 2", "٥", "½"),
        # 1299 or 1.299.
        *("1,299", "1.299", "-1.299", "KWD 1.299"),
        *(True, [], [12], {}, {"total": 5}, float("nan"), float("inf"), 10**13, "9" * 14, "$" + "9" * 70),
        # Twelve, or twelve hundredths: Stripe, Square and Adyen count cents.
        *({"amount": 1299, "currency": "usd"}, {"value": 1299, "currency": "EUR"}, {"amount": {"amount": "5"}}),
        # Which of the two currencies the order is in is not said.
        {"shop_money": {"amount": "12.00"}, "presentment_money": {"amount": "11.00"}},
    ],
    ids=repr,
)
def test_what_is_not_an_amount_or_could_be_two_is_none(spelling: Any) -> None:
    assert money(spelling) is None


CENTS = st.integers(1, 10**11)
# (mark of thousands, decimal mark)
MARKS = st.sampled_from(
    [(",", "."), (".", ","), (" ", ","), ("'", "."), ("\u00a0", ","), ("\u202f", ","), ("", "."), ("", ",")]
)
CURRENCIES = st.sampled_from(["", "$", "€", "£", "EUR", "kr", "US$", "CHF", "zł"])


def printed(cents: int, thousands: str, decimal: str) -> str:
    return f"{cents // 100:,}".replace(",", thousands) + f"{decimal}{cents % 100:02}"


@settings(deadline=None)
@given(CENTS, MARKS, CURRENCIES, st.booleans(), st.booleans())
def test_a_printed_amount_is_read_as_the_amount_that_was_printed(
    cents: int, marks: tuple[str, str], currency: str, is_before: bool, has_space: bool
) -> None:
    number, space = printed(cents, *marks), " " if has_space else ""
    text = f"{currency}{space}{number}" if is_before else f"{number}{space}{currency}"
    assert money(text) == Decimal(cents) / 100


@settings(deadline=None)
@given(
    CENTS,
    MARKS,
    st.sampled_from(["x2", " off", "%", "/kg", " pcs", " - 20.00", " *", "?", "E5", "\ufffd", " 1", " each", "\x00"]),
    st.booleans(),
)
def test_an_amount_with_something_else_in_it_is_none(
    cents: int, marks: tuple[str, str], junk: str, is_behind: bool
) -> None:
    """What was added is known, so any amount that is read would be made up."""
    number = printed(cents, *marks)
    assert money(number + junk if is_behind else junk.strip() + " ~ " + number) is None


@settings(deadline=None)
@given(st.integers(1, 999), st.integers(0, 999), st.sampled_from([",", "."]), st.sampled_from(sorted(THREE_DECIMALS)))
def test_three_digits_behind_one_mark_are_never_guessed(whole: int, rest: int, mark: str, code: str) -> None:
    for text in (f"{whole}{mark}{rest:03}", f"{code} {whole}{mark}{rest:03}", f"{whole}{mark}{rest:03} {code}"):
        assert money(text) is None


@settings(deadline=None)
@given(st.decimals(-(10**9), 10**9, places=2, allow_nan=False))
def test_plain_decimals_are_exact(amount: Decimal) -> None:
    assert str(money(str(amount))) == str(amount)
    assert money(float(amount)) == Decimal(repr(float(amount)))
