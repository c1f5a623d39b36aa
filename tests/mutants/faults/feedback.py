"""Faults in `feedback.lua` and `sends.lua`: what an ESP reports. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("if known == report then return false end", "if false then return false end", "a report counts each time"),
    ("if #reports < REPORTS then reports", "if true then reports", "reports of a send are not bounded"),
    (
        "current.state == 'claimed' then redis.call('HSET'",
        "false then redis.call('HSET'",
        "a report during a later attempt is forgotten",
    ),
    ("if not current or not UNSETTLED[current.state] then return false end", "", "a send that was refused is sent"),
    ("  if address ~= '' then\n    -- A retry", "  if false then\n    -- A retry", "a mail that left does not count"),
    ("  bump(key)\n  list_for_operator", "  list_for_operator", "a decision on the older state is claimed"),
    ("  list_for_operator(shop, sent.l, 'sent', now)\n", "", "a send that left stays on the operator's list"),
    ("if report.kind == 'delivered' then redis.call('HDEL'", "if false then redis.call('HDEL'", "a row never ends"),
    ("if not string.find(row, report.stamp, 1, true) and", "if", "a bounce that is reported again counts again"),
    ("and #row < report.soft * #report.stamp then", "then", "the row of soft bounces grows without bound"),
    ("return #row >= report.soft", "return #row > report.soft", "a soft bounce more is needed"),
    ("'n', cmsgpack.pack(early))", "'n', cmsgpack.pack({}))", "an early report is not on the trail"),
    ("account ~= report.esp", "false", "an account reports of another one's mails"),
    (" and not (is_anothers and report.kind == 'resubscribed')", "", "an account opts in to another one's mails"),
    ("      wait_for_claim(key, line_of(report, now))\n", "", "a report before the worker has settled is forgotten"),
    ("  redis.call('PEXPIRE', key, ms(DAY))\n", "", "what is reported of unknown sends never expires"),
    (
        "if redis.call('PTTL', key) == -1 and redis.call('HEXISTS', key, 'x') == 0 then",
        "if false then",
        "an address of which only soft bounces are known never expires",
    ),
    ("      and report.kind ~= 'resubscribed'\n", "\n", "an opt-in is taken for a suppression"),
)
SENDS: tuple[tuple[str, str, str], ...] = (
    ("retry = true, dead = true }", "retry = true }", "a send that was given up stays so, though it left"),
    ("unknown = true, retry = true,", "unknown = true,", "a retry leaves though the mail has left"),
    ("  redis.call('PEXPIRE', key, ms(SENDS_TTL))\n", "", "what is known of a send never expires"),
    ("return redis.call('HDEL', key, 'r') == 1", "return false", "a worker does not learn what was reported before"),
    (
        "if not newer(redis.call('HGET', key, field), stamp) then return false end",
        "",
        "an older report replaces a newer",
    ),
    ("'x', 'forever')\n", "'x', '1')\n", "an event gives a suppressed address an end"),
    ("  redis.call('HINCRBY', key, 'rev', 1)\n", "", "a mail leaves on what was read before a bounce"),
    ("  redis.call('PERSIST', key)\n", "", "a suppression expires with its address"),
)
