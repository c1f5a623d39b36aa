"""Faults in `dedupe.lua`: messages that were recorded before. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("for back = 0, 2 do", "for back = 0, 1 do", "a message is known for 12 h only"),
    (
        "if redis.call('TTL', key) == -1 then redis.call('EXPIRE', key, 129600) end",
        "",
        "remembered messages never expire",
    ),
    ("'EXPIRE', key, 129600", "'EXPIRE', key, 43200", "remembered messages expire early"),
    ("  if redis.call('EXISTS', list) == 0 then return end\n", "", "a redelivery creates a trail"),
    ("if string.sub(known, 1, 9) == 'duplicate' and", "if", "a first redelivery leaves no line"),
    (
        '== string.match(entry, \'"id":"[^"]*"\') then\n      return',
        '== string.match(entry, \'"id":"[^"]*"\') then\n      break',
        "redeliveries wash the trail away",
    ),
)
