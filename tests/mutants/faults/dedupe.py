"""Faults in `dedupe.lua`: messages that were recorded before. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("ms(bucket - 1)", "ms(bucket - 2)", "a message is forgotten at midnight"),
    ("if redis.call('SCARD', key) == 1 then", "if false then", "remembered messages never expire"),
    ("'EXPIRE', key, 172800", "'EXPIRE', key, 86400", "remembered messages expire early"),
    ("  if redis.call('EXISTS', list) == 0 then return end\n", "", "a redelivery creates a trail"),
    ("'^dup\\t\\t' .. string", "'\\t' .. string", "a first redelivery leaves no line"),
    ("if string.match(known, message) then return end", "", "redeliveries wash the trail away"),
)
