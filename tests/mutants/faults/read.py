"""Faults in `read.lua`: what decisions read. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("if kind == 'A:' or (kind", "if (kind", "no address is read"),
    ("(kind == 'M:' and with_mailboxes) then", "false then", "a mail to an alias costs one more trip"),
    (
        "(kind == 'M:' and with_mailboxes) then",
        "kind == 'M:' then",
        "a mailbox's refusals are shown as those of its aliases",
    ),
    (
        "if not cut or stamp < cut then",
        "if true then",
        "an order of a shared device has a buyer",
    ),
    (
        "or stamp < cut",
        "or stamp <= cut .. '~'",
        "an order at the very moment of the cut has a buyer",
    ),
    ("a[2] < b[2] or", "a[2] > b[2] or", "who told an order last is its buyer"),
    ("not is_addressed and #tellers", "#tellers", "an order with an address of its own is another person's"),
    ("not is_addressed and #tellers > 1 and tellers or {}", "{}", "an order that a visitor told too has no address"),
    ("for i = 1, 2 do", "for i = 1, 1 do", "an id that is an address is none"),
    ("for i = 1, 2 do", "for i = 2, 2 do", "a known address is none"),
    ("not (known[3] and known[i] >= known[3])", "true", "an address that is nobody's is a teller's"),
    ("if root ~= person then redis", "if false then redis", "an order waits for the first teller's address alone"),
    (
        "if not buyer or root_of(shop, buyer) ~= person then return false end",
        "",
        "an address of another teller that comes in between is missed",
    ),
    (
        "if not cut or stamp < cut then",
        "if not cut then",
        "an order of a shared device never gets its buyer",
    ),
    (
        "    if due then set_timer(shop, timer, tonumber(due)) end",
        "",
        "a timer of an id that joined a person is lost",
    ),
    ("    local due = remove_timer(shop, timer)", "    local due = due_of(shop, timer)", "two timers after a link"),
    ("table.insert(ids, 1, root)", "ids[#ids + 1] = root", "the root's record is not the first"),
    ("if #addresses < MAX_ADDRESSES then", "if true then", "a person's addresses are read without bound"),
    ("redis.call('GET', shop .. 'gap') or ''", "''", "gaps are not read"),
    ("redis.call('EXISTS', person_key(keys[1], root)) == 1 and root or ''", "root", "an unknown id is a person"),
    ("while i <= #args and work < MAX_READ do", "while i <= #args do", "a job about large persons blocks Redis"),
)
