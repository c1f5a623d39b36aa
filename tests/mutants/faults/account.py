"""Faults in `account.lua`: breaker and calls at once. Each is (text, its replacement, what breaks)."""

from __future__ import annotations

FAULTS: tuple[tuple[str, str, str], ...] = (
    ("  if state.breaker == 'held' then return 'held' end\n", "", "an operator's opening is probed"),
    ("now < tonumber(state['until'])", "now <= tonumber(state['until'])", "a probe comes a millisecond late"),
    ("now < tonumber(state.probe_until)", "true", "a probe whose worker died is waited for for ever"),
    ("tonumber(state.tries) + 1 or 0", "0", "the pause before a probe does not grow"),
    ("wait * MAX_PAUSES)", "math.huge)", "the pause before a probe grows without an end"),
    ("state.breaker and state.since or ms(now)", "ms(now)", "each probe that fails begins the opening anew"),
    ("  redis.call('DEL', account .. 'calls')\n", "", "failures before the closing count after it"),
    ("at <= second - WINDOW_S", "at < second - WINDOW_S - 1", "failures count for too long"),
    ("if probe and state.probe == probe[1] then", "if probe then", "a probe that was given up closes the breaker"),
    ("  if state.breaker or not report.calls then return end\n", "", "a late answer opens an open breaker once more"),
    ("failed == report.calls and", "failed > 0 and", "a success does not end the row"),
    ("slot_text(state.slot - report.unused * interval)", "state.slot", "what did not leave is not given back"),
    ("if report.flight then redis.call('ZREM', account .. 'flights', report.flight) end", "", "a call is never over"),
    ("state.breaker ~= 'held' then redis.call('PEXPIRE'", "true then redis.call('PEXPIRE'", "an opening expires"),
    ("    redis.call('ZREMRANGEBYSCORE', flights, '-inf', ms(now))\n", "", "a dead worker's call is never over"),
    (">= asked.most then", "> asked.most then", "one call too many at once"),
    ("asked.mails > 1 and 'breaker_open' or ''", "''", "all mails of a batch leave as the probe"),
    ("is_share and (row >= MIN_ROW or", "(row >= MIN_ROW or", "two batches that fail by chance open it"),
    ("row >= LONG_ROW or", "", "an account that fails at once is known late"),
    ("window.failures >= window.calls * MIN_SHARE", "window.failures > window.calls * MIN_SHARE", "half is not enough"),
    ("row >= MIN_ROW or", "row > MIN_ROW or", "five in a row are not enough"),
    ("window.calls >= MIN_CALLS)", "true)", "few calls are a share"),
    ("at > second - 3 then", "at > second - 300 then", "an old rate is taken for that of now"),
)
