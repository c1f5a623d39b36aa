"""Faults in `limits.lua`: limits. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("or '0') >= most end", "or '0') > most end", "a limit lets one request too many pass"),
    ("unknown = unknown + 1 - known", "unknown = unknown + 1", "members that were counted count again"),
    ("return unknown > 0 and redis.call", "return redis.call", "a full set refuses its own members"),
    ("+ unknown > most", "+ unknown >= most", "a limit of members refuses the last"),
    ("ms(left > 0 and left or window)", "ms(window)", "a limited request is told the whole window"),
    ("if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ms(window)) end", "", "a limit never ends"),
    (
        "if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ms(window)) end",
        "redis.call('PEXPIRE', key, ms(window))",
        "a limit's window moves along",
    ),
)
