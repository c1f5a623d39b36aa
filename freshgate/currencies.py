"""How many decimals an amount has in each currency (ISO 4217), where it is not two."""

from __future__ import annotations

THREE_DECIMALS = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))
NO_DECIMALS = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW") + ("PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF")
)


def decimals(currency: str) -> int:
    """Of amounts in that currency; two where it is not known."""
    code = currency.strip().upper()
    if code in NO_DECIMALS:
        return 0
    return 3 if code in THREE_DECIMALS else 2
