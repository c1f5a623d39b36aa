"""Faults in `library.lua`: registers, lives, trails, timers. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("not current or current < stamp", "not current or current <= stamp", "the same stamp is news"),
    ("not current or current < stamp", "not current or current > stamp", "the oldest register wins"),
    ("return not current or ", "return ", "nothing is news to an empty register"),
    (
        "math.min(first + 1999, #writes)",
        "math.min(first + 1999, 2000)",
        "only the first thousand fields are written",
    ),
    ("'rev', 1) == 1 then", "'rev', 1) == 0 then", "a record that a bump creates never expires"),
    ("if last == 'forever' then return nil end", "", "a record that must stay gets a TTL later"),
    ("ttl == 0 and 'forever' or", "", "an opt-out is not marked as staying for ever"),
    ("return next ~= last and next or nil", "return nil", "TTLs are never refreshed"),
    ("    redis.call('PERSIST', key)\n    return\n", "    return\n", "an opt-out expires with its address"),
    ("  redis.call('PEXPIRE', key, text_of_ttl(ttl))\n  if", "  if", "records never expire"),
    (
        "if has_trail then redis.call('PEXPIRE', key .. ':ev', text_of_ttl(ttl)) end",
        "",
        "the trail expires before its person",
    ),
    ("if count > most then redis.call('LTRIM', list, 0, most - 1) end", "", "a trail grows without bound"),
    ("'LTRIM', list, 0, most - 1", "'LTRIM', list, 0, most", "a trail has one entry too many"),
    ("if count == 1 then redis.call('PEXPIRE', list, text_of_ttl(ttl)) end", "", "a trail never expires"),
    ("condition or 'GT'", "condition or 'XX'", "new timers are not set"),
    ("condition or 'GT', ms(due)", "ms(due)", "an older event moves a timer back (GT)"),
    ("condition or 'GT'", "condition or 'LT'", "a timer keeps its earliest due (LT for GT)"),
    ("redis.call('SADD', shop .. 'triggers', trigger)", "local _", "a trigger's timers are never looked at"),
    ("return redis.call('HGET', shop .. 'leased', timer)\n    or ", "return ", "a leased timer has no due"),
    (
        "\n    or redis.call('ZSCORE', shop .. 'timers:' .. trigger_of(timer), timer)",
        "",
        "a waiting timer has no due",
    ),
    ("if n ~= known then known", "if not known then known", "the first moment is every moment"),
    ("now + 1000)", "now)", "looking back does not wait for the rest of a burst"),
)
