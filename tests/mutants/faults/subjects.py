"""Faults in `subjects.lua`: how many subjects a record keeps, and what goes with those that are left out.

Each is (text, its replacement, what breaks).
"""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("if string.sub(field, 1, #head) == head then", "if true then", "other fields count as subjects"),
    ("  ids[#ids + 1] = root\n", "", "what the root tells of is displaced by a device"),
    ("if redis.call('HEXISTS'", "if false and redis.call('HEXISTS'", "a subject is displaced that another id tells of"),
    (
        "  redis.call('HDEL', person_key(shop, event.id), field)\n",
        "",
        "subjects are kept without bound",
    ),
    ("local due = remove_timer(shop, timer)", "local due = due_of(shop, timer)", "a displaced mail's timer stays"),
    ("'f:' .. scope, 'b:'", "'b:'", "a displaced mail leaves its first due behind"),
    ("if due then said[#said + 1]", "if false then said[#said + 1]", "the trail is silent about a displaced mail"),
    ("is_of_mark and not state[after + i]", "false", "nothing is ever displaced"),
    ("1, STAMP) .. field end", "1, 0) .. field end", "subjects are displaced by their names"),
    (
        "for i = 1, #stamped - MAX_SUBJECTS do",
        "for i = 1, #stamped - MAX_SUBJECTS - 1 do",
        "one subject too many is kept",
    ),
    ("    changed[field] = false\n", "", "what is left out at once starts a mail all the same"),
)
