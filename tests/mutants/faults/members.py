"""Faults in `members.lua`: members, opt-outs, parked sends. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("== 'h:' and newer(newest, stamp) then", "== 'h:' then", "any holder of an address is taken for the last"),
    ("if string.sub(field, 1, 2) == 'h:' and newer(newest", "if newer(newest", "another field is taken for a holder"),
    ("for _ = 1, 16 do\n    local to", "for _ = 1, 1 do\n    local to", "an id that leads on twice has no root"),
    ("if other ~= id then rest", "if true then rest", "an id is listed twice"),
    ("while #ids > most do", "while #ids > most + 1 do", "a list has one id too many"),
    ("if #ids == 0 then redis.call('HDEL', key, field) else", "if true then", "an empty list is kept"),
    (
        "math.max(at + tonumber(delay), now + tonumber(settle))",
        "at + tonumber(delay)",
        "a released send does not settle",
    ),
    (
        "math.max(at + tonumber(delay), now + tonumber(settle))",
        "now",
        "a released send does not wait for its delay",
    ),
    (
        "      redis.call('HDEL', key, field)\n      if tonumber(delay)",
        "      if tonumber(delay)",
        "a send is released twice",
    ),
    (
        "if tonumber(delay) > 0 then redis.call('HSET', key, 'b:'",
        "if false then redis.call('HSET', key, 'b:'",
        "an address is no activity",
    ),
    (
        "if tonumber(delay) > 0 then redis.call('HSET', key, 'b:'",
        "if true then redis.call('HSET', key, 'b:'",
        "an immediate mail has a floor",
    ),
    (
        "  redis.call('HDEL', key, 'parked')\n  return changes",
        "  return changes",
        "every event reads the whole record",
    ),
    (
        "newest[5] or not newest[7] and guests or newest[6] or newest[7]",
        "not newest[7] and guests or newest[6] or newest[7]",
        "an opt-out misses the address that a server gave",
    ),
    (
        "newest[5] or not newest[7] and guests or newest[6] or newest[7]",
        "newest[5] or not newest[7] and guests or newest[7]",
        "an opt-out misses the address that a browser gave",
    ),
    (
        "newest[5] or not newest[7] and guests or newest[6] or newest[7]",
        "newest[5] or not newest[7] and guests or newest[6]",
        "an opt-out misses the user id that is an address",
    ),
    (
        "newest[5] or not newest[7] and guests or newest[6] or newest[7]",
        "newest[6] or newest[5] or not newest[7] and guests or newest[7]",
        "a browser's address comes before a server's",
    ),
    ("if i == 5 and is_device(id) then", "if false then", "a guest's address is the user's"),
    ("not newest[7] and guests or newest[6]", "newest[6]", "an opt-out misses the address that a device told"),
    (
        "if newest[i] and newer(redis.call('HGET', key, field), string.sub(newest[i], 1, STAMP)) then",
        "if newest[i] then",
        "an old opt-out replaces a newer one of the address",
    ),
    ("newest[i], 'x', 'forever')", "newest[i])", "a person's opt-out is not marked as staying"),
    ("      redis.call('HINCRBY', key, 'rev', 1)\n", "", "an opt-out between reading and claiming goes unnoticed"),
    ("      redis.call('PERSIST', key)\n", "", "a person's opt-out expires with the address"),
    (
        "unpack(REFUSAL_FIELDS, 1, 8)",
        "unpack(REFUSAL_FIELDS, 1, 4)",
        "an address that comes with a device is not suppressed",
    ),
    (
        "      redis.call('HSET', target, field, state[i])\n",
        "",
        "what a device refused is lost when it is one of too many",
    ),
    (
        "and not is_lent(id, root, i) and not (state[9] and state[i] >= state[9])\n",
        "and not is_lent(id, root, i)\n",
        "what a shared device refused is its first user's when it is one of too many",
    ),
    (
        "        and newer(redis.call('HGET', target, field), string.sub(state[i], 1, STAMP)) then\n      redis",
        "        then\n      redis",
        "an older refusal of a device takes the place of the user's newer one",
    ),
)
