"""Faults in `dedupe.lua`: messages that were recorded before. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("ms(bucket - 1)", "ms(bucket - 2)", "a message is forgotten at midnight"),
    ("if added == 2 then", "if false then", "remembered messages never expire"),
    ("if added == 0 then return false end", "if added == 1 then return false end", "a new message is a duplicate"),
    ("'EXPIRE', key, 172800", "'EXPIRE', key, 86400", "remembered messages expire early"),
    ("  if redis.call('EXISTS', list) == 0 then return end\n", "", "a redelivery creates a trail"),
    (
        "string.sub(known, 1, #head) == head then",
        "string.find(known, string.sub(head, 6), 1, true) then",
        "a first redelivery leaves no line",
    ),
    ("if string.sub(known, 1, #head) == head then return end", "", "redeliveries wash the trail away"),
    ("list, 0, TRAIL_ENTRIES - 1)) do", "list, 0, 9)) do", "redeliveries of a whole batch wash the trail away"),
)
