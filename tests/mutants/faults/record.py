"""Faults in `record.lua`: recording events. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("delay == 0 and now + SAFETY_NET_MS or", "delay == 0 and now or", "a job and its timer race"),
    (
        "math.max(math.min(at, now) + delay, now + settle)",
        "math.max(at + delay, now + settle)",
        "a clock that runs ahead delays a mail",
    ),
    (
        "math.max(math.min(at, now) + delay, now + settle)",
        "math.min(at, now) + delay",
        "a late burst does not settle",
    ),
    (
        "not known or stamp < string.sub(known, 1, STAMP)",
        "not known",
        "an older telling that arrives late is not the first",
    ),
    (
        "not known or stamp < string.sub(known, 1, STAMP)",
        "true",
        "the last telling replaces the first",
    ),
    (
        "      if event.trace then add(writes, 'p:' .. start[1], event.trace) end\n",
        "",
        "an order's mail has no trace",
    ),
    (
        "if refresh then keep_alive(key, ttl) end\n  -- It",
        "-- It",
        "orders never expire",
    ),
    (
        "if state[3] and event.at <= tonumber(state[3])",
        "if state[3] and event.at < tonumber(state[3])",
        "what is of the very moment of an order's mail is not looked back at",
    ),
    (
        "if state[3] and event.at <= tonumber(state[3]) then look_back",
        "if false then look_back",
        "nobody looks back at an order's mail",
    ),
    (
        "if register[1] == 'm:order' and first and first < register[2] then",
        "if false then",
        "an order told again withdraws by address",
    ),
    ("  if #writes == 0 then return end\n", "", "every event of an address moves its revision on"),
    (
        "  add(writes, 'rev', ms(tonumber(state[2] or '0') + 1))\n",
        "",
        "an opt-out by address between reading and claiming goes unnoticed",
    ),
    ("root == event.id and event.ttl or PERSON_TTL", "event.ttl", "a linked device expires after a month"),
    (
        "    'rev', ms(tonumber(state[REV] or '0') + 1),\n",
        "",
        "an event between reading and claiming goes unnoticed",
    ),
    ("math.max(tonumber(state[RX] or '0'), now)", "now", "an arrival by a slow clock moves the newest one back"),
    (
        "if event.clear and newer(cleared, event.clear) then",
        "if event.clear then",
        "an older snapshot empties the cart again",
    ),
    ("      count = drop_lines(key, cleared)\n", "", "lines of an emptied cart stay for ever"),
    ("stamp_ms(first) - ORDER_SLACK", "stamp_ms(first)", "an order told late takes newer lines along"),
    ("if event.sup then add(writes, 'sup', '1') end", "", "an opt-out before the address is lost"),
    (
        "if event.sup then redis.call('HSET', target, 'sup', '1') end",
        "",
        "a device's opt-out before the address is lost",
    ),
    (
        "    bump(target)\n    if event.sup",
        "    if event.sup",
        "what a device does between reading and claiming goes unnoticed",
    ),
    ("if start[2] == 'p' and advanced[start[3]] then", "if start[2] == 'p' then", "an older event starts a mail"),
    (
        "redis.call('HSETNX', target, 'f:' .. start[1]",
        "redis.call('HSET', target, 'f:' .. start[1]",
        "settling never ends",
    ),
    ("ms(delay > 0 and due or 0)", "ms(due)", "an immediate mail has a first due"),
    (
        "if event.trace then redis.call('HSET', target, 'p:'",
        "if false then redis.call('HSET', target, 'p:'",
        "a mail has no trace",
    ),
    ("if event.sup or (flags[3]", "if (flags[3]", "an opt-out misses the address that is known"),
    ("advanced['A:email'] or", "", "an opt-out misses the address that comes later"),
    ("or advanced['A:said_email'] or", "or", "an opt-out misses a browser's address that comes later"),
    (" or advanced['A:id']\n", "\n", "an opt-out misses a user id that comes later"),
    ("advanced['A:typed_email'] or", "", "an opt-out misses a form's address that comes later"),
    ("if event.addr and flags[1] then", "if flags[1] then", "a parked send leaves without an address"),
    ("if event.addr and flags[1] then", "if false then", "a parked send never leaves"),
    (
        "if flags[2] and event.at <= tonumber(flags[2])",
        "if flags[2] and event.at < tonumber(flags[2])",
        "what is of the very moment of a mail is not looked back at",
    ),
    ("if flags[2] and event.at <= tonumber(flags[2])", "if flags[2]", "every event looks back at old mails"),
    ("if refresh then keep_alive(key, ttl, state[REV]) end", "", "persons never expire"),
    ("event.seen) and not event.again then", "event.seen) then", "a replay is a duplicate"),
    ("not remember(shop, bucket, event.seen) and", "false and", "nothing is a duplicate"),
    ("verdict == 'del' then forget(shop, bucket, event.seen)", "false then", "what is erased is a duplicate"),
    (
        "return text == string.sub(first, STAMP + 1) and stamp or newest",
        "return newest",
        "an order is stored twice",
    ),
    ("if stamp == string.sub(first, 1, STAMP) then return nil end", "", "a single telling is stored twice"),
    ("if count > MAX_TELLERS then redis", "if false then redis", "tellers of an order are not bounded"),
    (
        "(value == last_stamp and field > last)",
        "(value == last_stamp and field < last)",
        "which of the tellers stay depends on arrival",
    ),
    ("value > last_stamp or", "value < last_stamp or", "the newest tellers of an order stay"),
    (
        "if state[CUT] and event.stamp >= state[CUT] then",
        "if state[CUT] and event.stamp > state[CUT] .. '~' then",
        "what happens at the very moment of the second login is the first's",
    ),
    (
        "if state[CUT] and event.stamp >= state[CUT] then",
        "if state[CUT] then",
        "what a shared device did before is lost",
    ),
    ("if state[CUT] and event.stamp >= state[CUT] then", "if false then", "a shared device starts mails"),
    ("if event.order then record_order(shop", "if false then record_order(shop", "orders are not recorded"),
    ("if limited then return { ms(now), limited } end", "", "limits are not kept"),
    ("if args[2] == '1' then", "if false then", "gaps are not noted"),
    (
        "local is_first = event.srv and not state[SERVER]",
        "local is_first = event.srv",
        "every event of a user evaluates all devices",
    ),
)
