"""Faults in `identity.lua`: links. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("    redis.call('HSET', person_key(shop, member), 'to', root)\n", "", "a member of a member is not found"),
    (
        "redis.call('HDEL', key, 'ids', 'met', 'claimed', 'ls', 'idle')",
        "",
        "a device that is used again stays idle",
    ),
    ("while #ids > MAX_MEMBERS do retire", "while false do retire", "devices that do not fit are not idle"),
    (
        "  redis.call('HDEL', key, 'x')\n  redis.call('PEXPIRE', key, ms(PERSON_TTL))\n  redis",
        "  redis",
        "a device of a person expires after a month",
    ),
    ("  redis.call('PEXPIRE', key .. ':ev', ms(PERSON_TTL))\n", "", "a device's trail expires after a month"),
    ("  bump(target)\n  move_timers", "  move_timers", "a link between reading and claiming goes unnoticed"),
    ("  move_timers(shop, id, root)\n", "", "timers stay with the device"),
    ("if left > 0 then\n", "if false then\n", "a link does not look back at mails"),
    ("if del > 0 then while not erase(shop, root, del) do end end", "", "an erasure holds for one id only"),
    ("if own[4] or theirs[4] then", "if own[4] then", "an opt-out misses the address of a later device"),
    ("if own[4] or theirs[4] then", "if theirs[4] then", "a device's opt-out is lost with the link"),
    ("if kind == 'P' then claimed[other] = value end", "", "a page's word never counts"),
    ("'srv') == 1 then unproven = true end", "'srv') == 1 then end", "a page speaks for somebody known"),
    (
        "if root ~= id and (not met[root] or stamp < met[root])",
        "if (not met[root] or stamp < met[root])",
        "an id meets itself",
    ),
    ("stamp < met[root])", "stamp > met[root])", "the last link counts, not the first"),
    ("stamp < first_stamp or", "stamp > first_stamp or", "a device belongs to whom it met last"),
    ("if root ~= first then", "if false then", "a shared device belongs to its first person for ever"),
    (
        "if not cut or met_at < cut then",
        "if not cut or met_at > cut then",
        "a device is nobody's from the third person on",
    ),
    (
        "local met_at = string.sub(stamp, 1, STAMP_TIME)",
        "local met_at = stamp",
        "what happened at the very moment of the second login is the first's",
    ),
    (
        "elseif was[2] then redis.call('HDEL', key, 'cut') end",
        "end",
        "a device that met one person twice stays nobody's",
    ),
    (
        "elseif was[3] then redis.call('HDEL', key, 'unproven') end",
        "end",
        "a device that a server confirmed stays unproven",
    ),
    ("if current and current ~= first then", "if false then", "a device stays with whom it did not meet first"),
    ("if first and current ~= first then attach", "if first then attach", "a link that is known is made again"),
    (
        "    bump(person_key(shop, first or id))\n",
        "",
        "that a device is shared goes unnoticed between reading and claiming",
    ),
    ("if asked or before >=", "if before >=", "a new device of an erased person was never erased"),
    ("before >= MAX_MEMBERS then", "false then", "a person has members without bound"),
    (
        "  redis.call('PEXPIRE', key, text_of_ttl(PERSON_TTL))\n  return ids",
        "  return ids",
        "a device that is linked at first sight never expires",
    ),
    (
        "if state[1] and state[1] <= stamp then",
        "if state[1] and state[1] < stamp then",
        "a repeated link is evaluated again",
    ),
    ("if state[1] and state[1] <= stamp then", "if state[1] then", "an older link that arrives late is ignored"),
    ("if count >= 16 then", "if count >= 17 then", "a device remembers 17 persons"),
    ("if count >= 16 then", "if false then", "a device remembers persons without bound"),
    ("  if not state[3] then bump(key) end\n", "", "a device that only links never expires"),
    (
        "'srv') == 0 then\n      local owner",
        "'srv') == 1 then\n      local owner",
        "claims of an unknown id are not remembered",
    ),
    (
        "if redis.call('PTTL', owner) < 0 then redis.call('PEXPIRE', owner, ms(PERSON_TTL)) end",
        "",
        "an id that a page claimed never expires",
    ),
    (
        "'met'))) do evaluate(shop, id, at, now) end\n  return",
        "'met'))) do end\n  return",
        "a device of two persons who became one stays nobody's",
    ),
    ("result == 'linked' and state[3] and not state[2] and 'merged' or result", "result", "a merge is not named"),
    (
        "  for _, device in ipairs(devices) do evaluate(shop, device, at, now) end",
        "",
        "what pages claimed still counts when a server knows the person",
    ),
    (
        "if have_refusals(shop, newcomers) then suppress_address(shop, root) end",
        "",
        "a device's refusal is not its user's",
    ),
    ("  newcomers[#newcomers + 1] = id\n", "", "what a device refused alone is not its user's"),
)
