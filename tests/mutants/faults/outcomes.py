"""Faults in `outcomes.lua`, and where others call it. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("  if fields[EVENT] == '' then return end\n", "", "an event that nobody wants is written"),
    (
        "redis.call('XLEN', key) + 1 - outcome.backlog",
        "redis.call('XLEN', key) - outcome.backlog",
        "one less is counted",
    ),
    ("'MAXLEN', '=', ms(outcome.backlog), '*'", "'*'", "what waits is not bounded"),
    ("'MAXLEN', '=', ms(outcome.backlog)", "'MAXLEN', '=', ms(outcome.backlog - 1)", "one less than the backlog waits"),
    ("if dropped > 0 then redis.call('INCRBY'", "if true then redis.call('INCRBY'", "what has room is counted as gone"),
    (
        "if dropped > 0 then redis.call('INCRBY'",
        "if dropped > 1 then redis.call('INCRBY'",
        "one that goes is not counted",
    ),
    ("':dropped', ms(dropped))", "':dropped', 1)", "of several that go at once one is counted"),
    (
        "= outcome.sent, 'sent', reason",
        "= outcome.sent, fields[OUTCOME], reason",
        "a send that left has its report's word",
    ),
    (
        "= outcome.sent, 'sent', reason",
        "= outcome.sent, 'sent', fields[REASON]",
        "a send that left has its report's reason",
    ),
    ("= outcome.sent, 'sent', reason", "= fields[EVENT], 'sent', reason", "a send that left is told as its report"),
    ("{ backlog = outcome.backlog, fields", "{ backlog = 0, fields", "a send that left drops what waits"),
    (
        "person_key(shop, root_of(shop, id)), 't:id', 'del'",
        "person_key(shop, id), 't:id', 'del'",
        "a linked id has no name",
    ),
    ("    redis.call('DEL', turn_key)\n", "", "a turn without work stays"),
    ("    redis.call('HDEL', turn_key, 'tries')\n", "", "a success keeps the failures"),
    ("if at <= math.max(", "if at < math.max(", "what happened right before an erasure leaves"),
    (
        "math.max(tonumber(state[2] or 0), tonumber(state[3] or 0))",
        "tonumber(state[2] or 0)",
        "an erasure that was asked for by address is not heeded",
    ),
    (
        "math.max(tonumber(state[2] or 0), tonumber(state[3] or 0))",
        "tonumber(state[3] or 0)",
        "an erasure by the CDP is not heeded",
    ),
    ("string.sub(state[1], STAMP + 1) or ''", "state[1] or ''", "a user is named with the stamp"),
    ("if tonumber(turn.due or 0) > now then", "if false then", "a pause after a failure is not kept"),
    ("if tonumber(turn.due or 0) > now then", "if tonumber(turn.due or 0) >= now then", "a pause never ends in time"),
    ("'wait', turn.due }", "'wait', ms(now) }", "a sender asks without a pause"),
    ("turn.token ~= args[2] and tonumber", "tonumber", "who has the lease waits for itself"),
    ("tonumber(turn['until']) > now then", "true then", "nobody takes over from a dead sender"),
    ("tonumber(turn['until']) > now then", "tonumber(turn['until']) >= now then", "a lease is longer than it says"),
    ("tonumber(turn['until']) > now then", "false then", "two send at a time"),
    ("'wait', turn['until'] }", "'wait', ms(now) }", "who waits for another one asks without a pause"),
    ("{ ms(now), 'taken', turn.tries or '0' }", "{ ms(now), 'taken', '0' }", "each failure is the first"),
    (", '-', '+', 'COUNT', args[4])) do", ", '-', '+')) do", "a call takes all that waits"),
    ("      redis.call('XDEL', key, row[1])\n", "", "what was of an erased person stays"),
    ("    if user then\n", "    if user ~= '' then\n", "an outcome of an unnamed person is lost"),
    ("  if #reply == 3 then\n", "  if false then\n", "an empty turn is leased"),
    ("'until', ms(now + args[3]))", "'until', ms(now))", "a lease has no duration"),
    (
        "'HSET', turn_key, 'token', args[2], 'until'",
        "'HSET', turn_key, 'token', turn.token or args[2], 'until'",
        "who takes over has no lease of its own",
    ),
    ("  redis.call('PEXPIRE', turn_key, ms(TURN_TTL))\n", "", "a turn never expires"),
    ("for i = 5, #args do redis.call('XDEL', key, args[i]) end", "", "what has left is sent for ever"),
    ("for i = 5, #args do", "for i = 6, #args do", "the first of what has left is sent once more"),
    (
        "  if redis.call('HGET', turn_key, 'token') ~= args[2] then return 1 end\n",
        "",
        "who was overtaken pauses others",
    ),
    ("    redis.call('HSET', turn_key, 'due', args[3])\n", "", "a failure has no pause"),
    ("redis.call('HDEL', turn_key, 'token', 'until')\n", "\n", "a pause keeps the lease"),
    (
        "if args[4] == '1' then redis.call('HINCRBY'",
        "if false then redis.call('HINCRBY'",
        "failures in a row do not count",
    ),
    (
        "if args[4] == '1' then redis.call('HINCRBY'",
        "if true then redis.call('HINCRBY'",
        "a wait for room is a failure",
    ),
    ("'COUNT', 1)[1]", "'COUNT', 2)[2]", "the oldest is the second"),
    ("tonumber(redis.call('GET', key .. ':dropped') or 0)", "0", "what went is not told"),
)
# In claim.lua.
CALLED_BY_CLAIM: tuple[tuple[str, str, str], ...] = (
    (
        "if settled.outcome then settled.outcome = as_sent(",
        "if false then settled.outcome = as_sent(",
        "a mail that was reported as left is told as unknown",
    ),
    ("  if settled.outcome then emit(shop, settled.outcome) end\n", "", "what became of a mail is not told"),
    (
        "    note_early(shop, settled, is_sent)\n    emit_early(shop, settled)\n",
        "    note_early(shop, settled, is_sent)\n",
        "what was reported early is not told",
    ),
    ("    change.outcome.fields[PERSON] = person\n", "", "a click is told of nobody"),
    ("    emit(shop, change.outcome)\n", "", "a click is not told"),
)
# In feedback.lua and sends.lua.
CALLED_BY_FEEDBACK: tuple[tuple[str, str, str], ...] = (
    (
        "if #early < REPORTS then early[#early + 1] = outcome end",
        "early[#early + 1] = outcome",
        "early ones are unbounded",
    ),
    ("  outcome.fields[PERSON], outcome.fields[TRIGGER] = sent.p, sent.g\n", "", "a report is told of nobody"),
    (
        "  if settled then emit(shop, as_sent(outcome, 'reported_by_esp')) end\n",
        "",
        "a send that left is not told as sent",
    ),
    ("  emit(shop, outcome)\nend", "end", "a report is not told"),
)
CALLED_BY_SENDS: tuple[tuple[str, str, str], ...] = (
    ("  redis.call('HDEL', key, 'q')\n", "", "an early report is told at each try"),
    (
        "settled.note and settled.note[1] or '', trigger_of(settled.timer)\n    emit",
        "'', ''\n    emit",
        "what was reported early is told of nobody",
    ),
)
