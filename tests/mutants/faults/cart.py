"""Faults in `cart.lua`: the lines of carts. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("and (not changes or newest_change(changes) < cleared) then", "then", "a line with a newer change is dropped"),
    (
        "if value < cleared and",
        "if string.sub(value, 1, STAMP) <= cleared and",
        "a line of the very moment of the clear is dropped",
    ),
    ("if value < cleared and", "if false and", "old lines are never dropped"),
    ("redis.call('HSET', key, 'nl', lines)", "", "the count of lines never falls"),
    (
        "if #changes < MAX_CHANGES * (STAMP + 2) then return changes end",
        "if true then return changes end",
        "the changes of a line grow without bound",
    ),
    ("if #entries <= MAX_CHANGES then", "if #entries < MAX_CHANGES then", "60 changes are added up already"),
    ("  table.sort(entries)\n", "", "changes are added up in the order of their arrival"),
    ("count = change == 'x' and 0 or", "count =", "a removal of all breaks the sum"),
    ("math.max(0, count + tonumber(change))", "count + tonumber(change)", "a quantity below nothing is kept"),
    ("for i = 1, #entries - half do", "for i = 1, #entries - half - 1 do", "one change gets lost in the sum"),
    ("for i = #entries - half + 1, #entries do", "for i = #entries - half, #entries do", "one change counts twice"),
    (
        "local last = string.sub(entries[#entries - half], 1, STAMP)",
        "local last = string.sub(entries[1], 1, STAMP)",
        "the sum gets the oldest stamp",
    ),
    (
        "if not is_added then field, product = list[at + 2], current[head + at + 2] end",
        "",
        "a removal overwrites the line's product",
    ),
    (
        "return changes or added and string.match(added, '^%w+%+%d+') or ''",
        "return changes or ''",
        "the first add is lost",
    ),
    ("      if is_added and known == '' then\n", "    if known == '' then\n", "a removal's change is lost"),
    ("      if is_added and known == '' then\n", "    if is_added then\n", "of a line's changes one is left"),
    ("local is_new_line = not product and", "local is_new_line =", "a known line counts as a new one"),
    ("and not string.find(known, stamp, 1, true) then", "then", "a repeated event counts twice"),
    (
        "if newer(product, stamp) then add(writes, field",
        "if true then add(writes, field",
        "an older add overwrites the product",
    ),
    ("if is_new_line then created = created + 1 end", "", "lines of one event are not counted"),
    ("if created > 0 then add(writes, 'nl', ms(count + created)) end", "", "lines are never counted"),
    (
        "if newest_change(changes) < change then return",
        "if true then return",
        "changes stand in the order of their arrival",
    ),
)
