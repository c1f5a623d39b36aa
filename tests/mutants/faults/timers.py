"""Faults in `timers.lua`: timers and their leases. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    (
        "'-inf', ms(now), 'LIMIT', 0, MAX_EXPIRED",
        "'-inf', '(' .. ms(now), 'LIMIT', 0, MAX_EXPIRED",
        "a lease ends a millisecond late",
    ),
    ("    redis.call('ZREM', shop .. 'leases', timer)\n", "", "a lease that ended never goes"),
    ("    redis.call('HDEL', shop .. 'leased', timer)\n", "", "a timer that came back cannot be leased again"),
    ("set_timer(shop, timer, tonumber(due or now))", "local _", "a timer whose lease ended is lost"),
    ("    redis.call('HSETNX', shop .. 'begun', timer, '0')", "", "what came back is not marked"),
    ("  return_expired(shop, now)\n", "", "no lease ever ends"),
    (
        "math.min(limits.left[group] or math.huge, math.ceil(left / (#triggers - i + 1)))",
        "math.min(limits.left[group] or math.huge, left)",
        "a backlog of one trigger starves the others",
    ),
    ("timers, '-inf', ms(now), 'WITHSCORES'", "timers, '-inf', ms(now + 60000), 'WITHSCORES'", "timers fire early"),
    (
        "timers, '-inf', ms(now), 'WITHSCORES'",
        "timers, '-inf', '(' .. ms(now), 'WITHSCORES'",
        "a timer fires a millisecond late",
    ),
    (
        "if redis.call('HSETNX', shop .. 'leased', timer, due[j + 1]) == 1 then",
        "redis.call('HSET', shop .. 'leased', timer, due[j + 1]) if true then",
        "a timer is leased twice",
    ),
    ("        redis.call('ZREM', timers, timer)\n", "", "a leased timer still waits"),
    ("ms(now + lease)", "ms(now)", "a lease ends at once"),
    ("        left = left - 1\n", "", "a call leases more than it was asked for"),
    (
        "(not next_due or tonumber(first[2]) < next_due)",
        "(not next_due)",
        "the next due is any trigger's",
    ),
    ("(limits.left[group] or 1) > 0 and (", "(", "a timer that may not be claimed wakes the process all the time"),
    ("limits.groups[trigger] or", "", "an account whose queue is full is handed more"),
    ("or limits.groups['*'] or", "or", "a timer of no trigger goes into a full queue"),
    (
        "        if limits.left[group] then limits.left[group] = limits.left[group] - 1 end\n",
        "",
        "more than a group may",
    ),
    ("(i + now) % #triggers + 1", "i", "one trigger takes all that its group has left"),
    ("      redis.call('SREM', shop .. 'triggers', trigger)", "", "a trigger without timers is looked at for ever"),
)
