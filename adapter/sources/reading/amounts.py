"""Amounts of money in any spelling → decimal text. The slow path of `converters.money_text`.

Strict: what could be two amounts is none, such as "1,299", which is 1299 in New York and 1.299 in Berlin. Beside a
currency it is 1299, since nobody prints a price with three decimals, but for the few currencies that have them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from freshgate.currencies import THREE_DECIMALS

MAX_LENGTH = 60
# Of the currencies in use (ISO 4217), so that "10 PCS" is not an amount.
_CODE = re.compile(
    r"AED|AFN|ALL|AMD|ANG|AOA|ARS|AUD|AWG|AZN|BAM|BBD|BDT|BGN|BHD|BIF|BMD|BND|BOB|BRL|BSD|BTN|BWP|BYN|BZD|CAD|CDF|"
    r"CHF|CLF|CLP|CNY|COP|CRC|CUP|CVE|CZK|DJF|DKK|DOP|DZD|EGP|ERN|ETB|EUR|FJD|FKP|GBP|GEL|GHS|GIP|GMD|GNF|GTQ|GYD|"
    r"HKD|HNL|HTG|HUF|IDR|ILS|INR|IQD|IRR|ISK|JMD|JOD|JPY|KES|KGS|KHR|KMF|KPW|KRW|KWD|KYD|KZT|LAK|LBP|LKR|LRD|LSL|"
    r"LYD|MAD|MDL|MGA|MKD|MMK|MNT|MOP|MRU|MUR|MVR|MWK|MXN|MYR|MZN|NAD|NGN|NIO|NOK|NPR|NZD|OMR|PAB|PEN|PGK|PHP|PKR|"
    r"PLN|PYG|QAR|RON|RSD|RUB|RWF|SAR|SBD|SCR|SDG|SEK|SGD|SHP|SLE|SOS|SRD|SSP|STN|SYP|SZL|THB|TJS|TMT|TND|TOP|TRY|"
    r"TTD|TWD|TZS|UAH|UGX|USD|UYU|UZS|VED|VES|VND|VUV|WST|XAF|XCD|XCG|XOF|XPF|YER|ZAR|ZMW|ZWG",
    re.ASCII,
)
# How shops print a currency without a sign of its own.
_NAME = re.compile(r"kr\.?|kn|zł|kč|ft|lei|s?fr\.?|rs\.?|rm|rp\.?|руб\.?|р\.|грн|лв\.?|дин|din|ден|ksh")
# "US$", "R$", "CA$", "NT$".
_LETTERS_AND_SIGN = re.compile(r"[A-Za-z]{1,3}([^\w\s])")
_PARTS = re.compile(
    r"(?P<before>[^\d()+-]*?) ?(?P<sign>[+-])? ?(?P<between>[^\d()+-]*?) ?"
    r"(?P<number>\d[\d.,' ]*?)(?P<dash>[.,]-{1,2})? ?(?P<after>[^\d()+ .,'-][^\d()+-]*)?(?P<trailing>-)?",
    re.ASCII,
)
# The forms of a number that mean one amount. Groups have three digits and one mark throughout, or are India's.
_NUMBERS = tuple(
    re.compile(pattern, re.ASCII)
    for pattern in (
        # 1299; 1299.5, 1299,00; 1299,000, whose comma is not before a group, since the first would be of four
        r"(?P<whole>\d+)",
        r"(?P<whole>\d+)[.,](?P<decimals>\d{1,2}|\d{4,})",
        r"(?P<whole>0|\d{4,})[.,](?P<decimals>\d{3})",
        # 1,299.00 and 1.299,00
        r"(?P<whole>[1-9]\d{0,2}(?P<mark>[.,' ])\d{3}(?:(?P=mark)\d{3})*)(?!(?P=mark))[.,](?P<decimals>\d+)",
        # 1,299,000; 1 299
        r"(?P<whole>[1-9]\d{0,2}(?P<mark>[.,' ])\d{3}(?:(?P=mark)\d{3})+)",
        r"(?P<whole>[1-9]\d{0,2}[' ]\d{3})",
        # 1,29,999.00
        r"(?P<whole>[1-9]\d?(?:,\d{2})+,\d{3})(?:\.(?P<decimals>\d+))?",
    )
)
# Beside a currency, or in front of a dash that stands for no cents: $1,299 and 1.299,-
_SINGLE_GROUP = re.compile(r"[1-9]\d{0,2}[.,]\d{3}", re.ASCII)
_SPACES = str.maketrans(
    {"\u2019": "'", "\u02bc": "'", "\u2032": "'", "\u066c": "'", "\u2212": "-", "\u2013": "-", "\u2014": "-"}
)


def printed_amount(text: str) -> str:
    """Plain decimal text of an amount as shops print it: "$1,299.00", "1.299,00 €", "CHF 1'299.–"; else empty."""
    if len(text) > MAX_LENGTH:
        return ""
    text = _tidy(text)
    negative = text.startswith("(") and text.endswith(")")
    match = _PARTS.fullmatch(text[1:-1].strip() if negative else text)
    if match is None:
        return ""
    currencies = [part.strip() for part in match.group("before", "between", "after") if part and part.strip()]
    signs = [negative, match["sign"] == "-", match["trailing"] is not None]
    # A plus says that it is a change, and no amount; two signs contradict each other.
    if match["sign"] == "+" or sum(signs) > 1 or len(currencies) > 2 or not all(map(_is_currency, currencies)):
        return ""
    is_printed = bool(currencies) and THREE_DECIMALS.isdisjoint(currency.upper() for currency in currencies)
    number = _plain(match["number"].strip(), is_whole=match["dash"] is not None, is_grouped=is_printed)
    return f"-{number}" if number and any(signs) else number


def amount_of_object(value: Mapping[str, Any]) -> Any:
    """What stands for the amount in an object such as Shopify's {"amount", "currencyCode"}; None if it is not sure.

    Beside `currency` or `value` a whole number may count cents (Stripe, Square, Adyen), so it is not read.
    """
    if "shop_money" in value:
        # What the shop earns, and what the customer paid in a currency of their own (Shopify's price sets).
        shop, paid = value["shop_money"], value.get("presentment_money")
        return shop if type(shop) is dict and "amount" in shop and (paid is None or paid == shop) else None
    cents, digits = value.get("centAmount"), value.get("fractionDigits", 2)
    if type(cents) is int and type(digits) is int and 0 <= digits <= 4:  # commercetools
        return str(Decimal(cents).scaleb(-digits))
    if "amount" in value:
        amount, is_sure = value["amount"], "currencyCode" in value or "currency_code" in value
    else:
        amount, is_sure = value.get("value"), False
    if type(amount) is int and not is_sure:
        return None
    return amount if type(amount) in (int, float, str) else None


def _tidy(text: str) -> str:
    if not text.isascii():
        text = "".join(char for char in text if unicodedata.category(char) != "Cf").translate(_SPACES)
    return " ".join(text.split())


def _is_currency(text: str) -> bool:
    if len(text) == 1:
        return unicodedata.category(text) == "Sc"
    parts = _LETTERS_AND_SIGN.fullmatch(text)
    if parts is not None and unicodedata.category(parts.group(1)) == "Sc":
        return True
    return bool(_CODE.fullmatch(text.upper()) or _NAME.fullmatch(text.lower()))


def _plain(number: str, *, is_whole: bool, is_grouped: bool) -> str:
    """The digits with a decimal point, or empty where they could be two numbers."""
    for pattern in _NUMBERS:
        match = pattern.fullmatch(number)
        if match is not None:
            parts = match.groupdict()
            whole, decimals = re.sub(r"\D", "", match["whole"]), parts.get("decimals")
            if is_whole and decimals:
                return ""
            return f"{whole}.{decimals}" if decimals else whole
    return re.sub(r"\D", "", number) if (is_whole or is_grouped) and _SINGLE_GROUP.fullmatch(number) else ""
