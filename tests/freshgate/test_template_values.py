"""What templates print: amounts with their currency's decimals, and times in the shop's time zone."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import pytest

from freshgate import Product, date, money, template_product


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        *(("1299", "EUR", "1299.00"), ("79.5", "GBP", "79.50"), (Decimal(10), "", "10.00"), (5, "XYZ", "5.00")),
        # A browser's sum of floats.
        *(("59.97000000000001", "USD", "59.97"), ("0.125", "USD", "0.13"), ("-5", "usd", "-5.00")),
        *(
            ("1299", "JPY", "1299"),
            ("1299.5", " jpy ", "1300"),
            ("1.5", "KWD", "1.500"),
            ("999999999999.99", "EUR", "999999999999.99"),
        ),
        *(("", "EUR", ""), (None, "EUR", ""), ("many", "", ""), ("NaN", "", ""), ("Infinity", "", "")),
    ],
)
def test_an_amount_has_the_decimals_of_its_currency(amount: Any, currency: str, text: str) -> None:
    assert money(amount, currency) == text


def test_a_time_is_printed_in_the_time_zone_of_the_shop() -> None:
    at = 1_790_000_040_000
    assert date(at) == "2026-09-21"
    assert date(at, "Europe/Berlin", "%d.%m.%Y %H:%M") == "21.09.2026 16:14"
    assert date(at + 12 * 3_600_000, "Asia/Tokyo") == "2026-09-22"
    with pytest.raises(ZoneInfoNotFoundError):
        date(at, "Europe/Atlantis")


def test_a_product_has_its_price_with_decimals_and_lacks_what_was_not_sent() -> None:
    assert template_product(Product("p-1", price="79.5", sku="S"), "GBP") == {
        "product_id": "p-1",
        "price": "79.50",
        "quantity": 1,
    }
    assert template_product(Product(name="Gift card"), "") == {"name": "Gift card", "quantity": 1}
