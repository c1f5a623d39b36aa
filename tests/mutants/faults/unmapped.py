"""Faults in `unmapped.lua`: names that no event type reads. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("if redis.call('HLEN', keys[1]) + (#args - 3) / 3 > most then", "if false then", "no old name makes room"),
    ("if not last or last < now - forget then", "if true then", "a name of today makes room"),
    ("last < now - forget then", "last <= now - forget then", "a name makes room a millisecond early"),
    ("if known or room > 0 then", "if true then", "names without a bound"),
    ("if known or room > 0 then", "if known or room >= 0 then", "one name too many"),
    ("if known or room > 0 then", "if room > 0 then", "a name that is known is not counted once the list is full"),
    ("        count = count + (tonumber(before) or 0)\n", "", "what was counted is forgotten"),
    ("        if shape == '' then shape = had or '' end\n", "", "a sample's shape is lost"),
    ("        room = room - 1\n", "", "many new names at once have no bound"),
    ("if not id and args[i + j] ~= ''", "if args[i + j] ~= ''", "the device goes before the user"),
    (
        " and redis.call('EXISTS', person_key(shop, args[i + j])) == 1 then id",
        " then id",
        "somebody who is not known gets a trail",
    ),
    ("if tonumber(args[i + 2]) > math.max(", "if true or math.max(", "an erasure does not hold"),
    ("if tonumber(args[i + 2]) > math.max(", "if tonumber(args[i + 2]) >= math.max(", "an erasure at equality"),
    ("math.max(tonumber(del), tonumber(asked))", "tonumber(asked)", "an erased device's record does not count"),
    ("math.max(tonumber(del), tonumber(asked))", "tonumber(del)", "an erased person's other ids do not count"),
    ("args[i + 3], UNMAPPED_ENTRIES, PERSON_TTL)", "args[i + 3], 1000, PERSON_TTL)", "very many are kept"),
    ("if left > 0 then redis.call('PEXPIRE', key .. ':un', ms(left)) end", "", "it outlives its person"),
)
