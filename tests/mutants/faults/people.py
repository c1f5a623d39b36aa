"""Faults in `people.lua`: what the People API and `why` read. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("for i = 4, #args do", "for i = 5, #args do", "the first id is not looked up"),
    ("if args[3] ~= '' then", "if false then", "nobody is found by an address"),
    ("= last_holder(shop, args[3])", "= nil", "an address leads to nobody"),
    ("local root = root_of(shop, id)\n", "local root = id\n", "an id that was merged is another person"),
    (
        "if redis.call('EXISTS', person_key(shop, root)) == 1 then return root end",
        "if root then return root end",
        "an id that nobody knows hides the others",
    ),
    ("  local ids = members_of(shop, root)\n", "  local ids = {}\n", "what was told of merged ids is not shown"),
    ("  table.insert(ids, 1, root)\n", "  ids[#ids + 1] = root\n", "the root is not the first"),
    ("most = math.min(most, math.max(", "most = math.max(most, math.max(", "more entries than asked for"),
    ("math.max(MIN_TRAIL, math.floor(", "math.min(MIN_TRAIL, math.floor(", "ten entries of each id"),
    (
        "math.max(MIN_TRAIL, math.floor(MAX_TRAIL / (#ids * #lists)))",
        "math.floor(MAX_TRAIL / (#ids * #lists))",
        "of very many ids nothing is read",
    ),
    ("math.floor(MAX_TRAIL / (#ids * #lists))", "MAX_TRAIL", "of many ids too much is read"),
    ("0, most - 1))", "0, most))", "one entry too many"),
    ("    collect_addresses(record, wanted)\n", "", "no address' record is shown"),
    (
        "version[#version + 1] = id .. '=' .. (fields.rev or '0') .. '@' .. (fields.rx or '')",
        "",
        "a person's change leaves the version",
    ),
    ("(fields.rev or '0')", "'0'", "a change without an event leaves the version"),
    (" .. '@' .. (fields.rx or '')", "", "after a restore the cache has what was lost"),
    (
        "version[#version + 1] = address .. '=' .. redis.sha1hex(table.concat(record, '\\n'))",
        "",
        "an address' change leaves the version",
    ),
    ("if #addresses < MAX_ADDRESSES then", "if true then", "more addresses than decisions read"),
    ("if version == args[2] then return { now, root, version } end", "", "what the caller has is sent once more"),
    ("{ ':ev' }, TRAIL_ENTRIES)", "{ ':ev', ':un' }, TRAIL_ENTRIES)", "an event that nobody reads is an action"),
    ("{ ':ev', ':un' }, tonumber(args[2]))", "{ ':ev' }, tonumber(args[2]))", "an event that nobody reads is no news"),
)
