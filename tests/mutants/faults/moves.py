"""Faults in `moves.lua`: timers that move to another person. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("id and trigger .. '|p:' .. root_of(shop, id) or timer", "timer", "a timer has its old name for ever"),
    ("  redis.call('ZREM', shop .. 'leases', timer)\n", "", "a timer that moved comes back"),
    ("  redis.call('HDEL', shop .. 'leased', timer)\n", "", "a timer that moved is due twice"),
    ("  redis.call('HDEL', shop .. 'begun', timer)\n", "", "a timer that moved is counted as crashed"),
    ("elseif kind == 'b' or kind == 'p' then", "elseif kind == 'p' then", "a link loses when an address came"),
    ("elseif kind == 'b' or kind == 'p' then", "elseif kind == 'b' then", "a link loses the trace"),
    (
        "(subject == from and trigger .. '|p:' .. into or name)",
        "name",
        "a parked send is released under its old name",
    ),
)
