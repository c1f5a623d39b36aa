"""Values as templates show them: amounts with their currency's decimals, times in a time zone, products.

Part of the public API of catalogs; a trigger's `compose` calls them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from freshgate.currencies import decimals
from freshgate.events import Product

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def money(amount: Decimal | int | str | None, currency: str = "") -> str:
    """The amount with the decimals of its currency, two where it is not known: "1299" is "1299.00", of JPY "1299".

    Digits beyond those are rounded, half up. Empty for what is not an amount, so that a template can test for it.
    """
    try:
        number = Decimal("" if amount is None else amount)
        rounded = number.quantize(Decimal(1).scaleb(-decimals(currency)), ROUND_HALF_UP)
    except InvalidOperation:
        return ""
    return str(rounded) if rounded.is_finite() else ""


def date(at: int, tz: str = "UTC", form: str = "%Y-%m-%d") -> str:
    """A time (ms UTC, as all times of events) as text in a time zone such as "Europe/Berlin".

    `form` is strftime's: "%d.%m.%Y %H:%M". Raises zoneinfo.ZoneInfoNotFoundError for a zone that does not exist.
    """
    return (EPOCH + timedelta(milliseconds=at)).astimezone(_zone(tz)).strftime(form)


def template_product(line: Product, currency: str = "") -> dict[str, Any]:
    """A product as templates see it; what the source did not send is absent, so that a template can test for it.

    The price has its currency's decimals, two where `currency` is empty.
    """
    values = {
        "product_id": line.product_id,
        "variant": line.variant,
        "name": line.name,
        "price": money(line.price, currency),
        "quantity": line.quantity,
        "url": line.url,
        "image_url": line.image_url,
    }
    return {name: value for name, value in values.items() if value != ""}


@lru_cache(maxsize=64)
def _zone(tz: str) -> ZoneInfo:
    return ZoneInfo(tz)
