"""Faults in `purchases.lua`: the first telling of an order. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    (
        "if known <= stamp then return known end",
        "if known then return known end",
        "an older telling that arrives late is no first one",
    ),
    ("if known <= stamp then return known end", "", "an order that is told again is a new purchase"),
    (
        "'NX', 'GET', 'PX', ms(PURCHASE_TTL))",
        "'NX', 'GET')",
        "first tellings never expire",
    ),
    (
        "redis.call('SET', key, stamp, 'PX', ms(PURCHASE_TTL))",
        "redis.call('SET', key, stamp, 'PX', ms(30 * DAY))",
        "first tellings expire with the order",
    ),
    ("      is_new = false\n", "", "an order that is told again starts a mail"),
    ("if known < stamp then stamp = known end", "", "the last telling is the purchase"),
    ("table.sort(lines, function(a, b) return a > b end)", "table.sort(lines)", "the oldest purchases are kept"),
    ("(i <= MAX_PURCHASES and size", "(size", "purchases are kept without bound"),
    ("and size <= MAX_PURCHASES_BYTES)", ")", "huge orders are kept without bound"),
    ("if i == 1 or (", "if (", "a huge order is forgotten at once"),
)
