"""Faults in `erasure.lua`: erasure. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    (
        "if redis.call('EXISTS', key) == 1 then bump(key) end",
        "if redis.call('EXISTS', key) == 1 then end",
        "an erased order is claimed",
    ),
    ("if redis.call('EXISTS', key) == 1 then bump(key) end", "bump(key)", "erasing creates an order"),
    ("if newest and #newest == STAMP and first then", "if false then", "a newer telling loses its text"),
    (" or kind == 'M:' or kind == 'w:') and", " or kind == 'M:') and", "who told an order outlives the erasure"),
    (
        "if kind == 'A:' and stamp_ms(value) <= del then",
        "if false then",
        "an erased person's address is still known as theirs",
    ),
    (
        "== 'h:') and stamp_ms(value) <= del then",
        "== 'h:') and stamp_ms(value) < del then",
        "what an address knows of that very moment stays",
    ),
    ("== 'h:') and stamp_ms(value) <= del then", "== 'h:') then", "a newer owner of the address is forgotten"),
    ("(field == 'm:order' or string.sub(field, 1, 2) == 'h:')", "(field == 'm:order')", "who had the address stays"),
    ("if #gone == 0 then return end\n  remove_all", "remove_all", "an erasure without a trace counts as a change"),
    (
        "if stamp_ms(value) <= del then gone[#gone + 1] = field end\n    elseif",
        "if stamp_ms(value) < del then gone[#gone + 1] = field end\n    elseif",
        "what is of the very moment of the erasure stays",
    ),
    (
        "if stamp_ms(value) <= del then gone[#gone + 1] = field end\n    elseif",
        "gone[#gone + 1] = field\n    elseif",
        "what is newer than the erasure goes",
    ),
    (
        "kind == 's:' or kind == 't:' or kind == 'A:' or",
        "kind == 's:' or kind == 'A:' or",
        "traits outlive the erasure",
    ),
    (
        "kind == 'm:' or kind == 's:' or kind == 't:' or",
        "kind == 'm:' or kind == 't:' or",
        "what is known of a subject outlives the erasure",
    ),
    (
        "kind == 't:' or kind == 'A:' or kind == 'M:' or",
        "kind == 't:' or kind == 'M:' or",
        "ids of addresses outlive the erasure",
    ),
    (
        "kind == 't:' or kind == 'A:' or kind == 'M:' or",
        "kind == 't:' or kind == 'A:' or",
        "ids of mailboxes outlive the erasure",
    ),
    (" or kind == 'M:' or kind == 'w:') and", " or kind == 'w:') and", "the mailbox of an order outlives the erasure"),
    (" or field == 'cc'\n", "\n", "the clearing of a cart outlives the erasure"),
    ("or string.sub(field, 1, 1) == '+' or", "or", "lines of a cart outlive the erasure"),
    (
        "if stamp_ms(change) > del then",
        "if stamp_ms(change) >= del then",
        "changes of the very moment of the erasure stay",
    ),
    ("if stamp_ms(change) > del then", "if false then", "newer changes of a cart go"),
    (
        "if stamp_ms(line) > del then",
        "if stamp_ms(line) >= del then",
        "a purchase of the very moment of the erasure stays",
    ),
    ("if stamp_ms(line) > del then", "if false then", "newer purchases go"),
    ("          erase_order(shop, string.match(line, '^%S+ (%S+)'), del)\n", "", "orders outlive the erasure"),
    (
        "  redis.call('HSET', key, 'del', ms(del))\n  redis.call('DEL'",
        "  redis.call('DEL'",
        "an event from before the erasure brings the person back",
    ),
    (
        "if field == 'A:email' then mark_erased(shop, string.sub(value, STAMP + 1), del) end",
        "",
        "what another id of an erased person did is mailed",
    ),
    ("  mark_erased(shop, id, del)\n  return true", "  return true", "what others told of an erased address is mailed"),
    (
        "  if del <= tonumber(redis.call('HGET', key, 'del') or '0') then return end\n",
        "",
        "an older erasure shortens that of an address",
    ),
    (
        "  redis.call('HSET', key, 'del', ms(del))\n  bump(key)\n",
        "  redis.call('HSET', key, 'del', ms(del))\n",
        "the erasure of an address goes unnoticed between reading and claiming",
    ),
    (
        "  if del <= tonumber(redis.call('HGET', person_key(shop, id), 'del') or '0') then return end\n",
        "",
        "an older erasure of a shared device brings back what was told until the newer one",
    ),
    (
        "  erase_record(shop, id, del)\n  bump(person_key(shop, root))\n",
        "  erase_record(shop, id, del)\n",
        "the erasure of a shared device goes unnoticed between reading and claiming",
    ),
    (
        "  gone[#gone + 1] = 'x'\n",
        "",
        "a record expires early after an erasure",
    ),
    (
        "redis.call('DEL', key .. ':ev', key .. ':dec', key .. ':un')",
        "redis.call('DEL', key .. ':dec', key .. ':un')",
        "the trail of events outlives the erasure",
    ),
    (
        "redis.call('DEL', key .. ':ev', key .. ':dec', key .. ':un')",
        "redis.call('DEL', key .. ':ev', key .. ':un')",
        "the trail of sends outlives the erasure",
    ),
    ("':un')\n  redis.call('PEXPIRE', key, ms(PERSON_TTL))", "':un')", "an erased record never expires"),
    (
        "local ids, room = members_of(shop, root), ERASED_FIELDS",
        "local ids, room = {}, ERASED_FIELDS",
        "only one id is erased",
    ),
    ("      if room <= 0 then return false end\n", "", "the erasure of a large person blocks Redis"),
    (
        "      if room <= 0 then return false end\n",
        "      if room <= 0 then return true end\n",
        "devices of a large person stay",
    ),
    (
        "not erase(shop, root_of(shop, holder), del) then return false end",
        "not erase(shop, root_of(shop, holder), del) then return true end",
        "devices of a large person, erased by an address, stay",
    ),
)
