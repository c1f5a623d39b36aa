-- account: what all workers of all hosts share about an ESP account: its breaker and its limits (`rates.lua`).
-- KEYS[1] is the account's prefix, "fg:account:{shop}:". `state` is a hash:
--   breaker  "open" | "held" (by an operator); missing = closed     reason, since (ms), tries    why, since when
--   until    when a probe may try (ms)      probe, probe_until      the call that tries, and until when we wait for it
--   row      failures without a success between them; a call with many mails weighs as much as three
--   slot     when the next mail of the rate may leave (ms)          pause    no call before that (ms)
--   learned_at, peak   when 429 taught a limit, and what the account took then, in mails a second
--   normal   the share of 429 that was left after that
-- `calls` hash: c<s>, f<s>, m<s>, l<s>: calls, failures, mails taken and 429 in a second     share  of 429, moving average
-- `flights` zset: call -> end of its lease
--
-- fg_report  ARGV now or "", msgpack map of what happened since the last report; all may be missing:
--              calls, failures, mails      counts, without the calls that were answered 429      weight  of the failures
--              blocked  true = the account was refused (401, 403)      limited  a 429, with the pause that it asked for (ms)
--              wait     the first pause before a probe (ms)         probe {token, "taken" | "failed" | "unused"}
--              flight   the token of a call that is over            unused   mails of the rate that did not leave
--              rate     the rate that is set
--            REPLY {now, "closed" | "open" | "held" | "probing" | "ready" = a probe may try, until or 0, reason,
--                   mails of the learned limit in 1000 s or 0, pause or 0}
-- fg_admit   ARGV now or "", msgpack map: mails, patience (ms), token, lease (ms), rate, most (calls at once); the last
--              two may be missing
--            REPLY {now, how many may leave, when the last of them may (ms), "" | "breaker_open" | "limited" | "busy" =
--                   too many calls at once, when the others may ask (ms), 1 = this call is the probe}
-- fg_breaker ARGV now or "", "open" | "close", reason  REPLY 1

-- The breaker opens when this share of the calls of the window failed, and they were so many, or so many failed in a row;
-- or when more failed in a row than chance lets fail.
local WINDOW_S, MIN_SHARE, MIN_CALLS, MIN_ROW, LONG_ROW = 10, 0.5, 20, 5, 10
-- How much longer than the first the pause before a probe gets.
local MAX_PAUSES = 12
local STATE_TTL = 7 * DAY

local function breaker_of(state, now)
  if not state.breaker then return 'closed' end
  if state.breaker == 'held' then return 'held' end
  if now < tonumber(state['until']) then return 'open' end
  if state.probe and now < tonumber(state.probe_until) then return 'probing' end
  return 'ready'
end

local function open_breaker(account, state, now, reason, wait)
  local tries = state.breaker and tonumber(state.tries) + 1 or 0
  local pause = math.min(wait * 2 ^ math.min(tries, 10), wait * MAX_PAUSES)
  redis.call('HSET', account .. 'state', 'breaker', 'open', 'reason', reason, 'tries', ms(tries),
    'since', state.breaker and state.since or ms(now), 'until', ms(now + pause))
  redis.call('HDEL', account .. 'state', 'probe', 'probe_until', 'row')
end

local function close_breaker(account)
  redis.call('HDEL', account .. 'state', 'breaker', 'reason', 'since', 'tries', 'until', 'probe', 'probe_until', 'row')
  redis.call('DEL', account .. 'calls')
end

-- Adds to the counts of this second, and returns those of the window: calls, failures; seconds since the first call; best,
-- the mails of the best one of the last seconds; calls and 429 later than the last lesson and its echo.
local function count_calls(account, now, state, report)
  local key, second = account .. 'calls', math.floor(now / 1000)
  local counts = { c = report.calls, f = report.failures, m = report.mails, l = report.limited and 1 }
  for field, count in pairs(counts) do
    if count and count > 0 then redis.call('HINCRBY', key, field .. ms(second), count) end
  end
  redis.call('EXPIRE', key, 60)
  local window = { calls = 0, failures = 0, seconds = 0, best = 0, later_calls = 0, later_429 = 0 }
  local echo_ends = math.floor(tonumber(state.learned_at or now) / 1000) + 1
  for field, count in pairs(hash(key)) do
    local kind, at = string.match(field, '^(%a)(%d+)$')
    at, count = tonumber(at or second), tonumber(count)
    if at <= second - WINDOW_S then
      redis.call('HDEL', key, field)
    elseif kind == 'c' then
      window.calls = window.calls + count
      window.later_calls = window.later_calls + (at > echo_ends and count or 0)
    elseif kind == 'f' then
      window.failures = window.failures + count
    elseif kind == 'm' and at > second - 3 then
      window.best = math.max(window.best, count)
    elseif kind == 'l' and at > echo_ends then
      window.later_429 = window.later_429 + count
    end
    window.seconds = math.max(window.seconds, second - at + 1)
  end
  return window
end

local function judge(account, state, now, report)
  local window
  if report.calls or report.limited then
    window = count_calls(account, now, state, report)
    learn(account, state, now, report, window)
  end
  local probe = report.probe
  if probe and state.probe == probe[1] then
    if probe[2] == 'taken' then return close_breaker(account) end
    redis.call('HDEL', account .. 'state', 'probe', 'probe_until')
    if probe[2] == 'failed' then
      return open_breaker(account, state, now, report.blocked and 'blocked' or state.reason, report.wait)
    end
  end
  -- What was on its way when the breaker opened says nothing new.
  if state.breaker or not report.calls then return end
  if report.blocked then return open_breaker(account, state, now, 'blocked', report.wait) end
  local failed = report.failures or 0
  local row = failed == report.calls and tonumber(state.row or 0) + report.weight or failed > 0 and 1 or 0
  local is_share = window.failures >= window.calls * MIN_SHARE
  if row >= LONG_ROW or (is_share and (row >= MIN_ROW or window.calls >= MIN_CALLS)) then
    return open_breaker(account, state, now, 'failing', report.wait)
  end
  if row > 0 then
    redis.call('HSET', account .. 'state', 'row', ms(row))
  elseif state.row then
    redis.call('HDEL', account .. 'state', 'row')
  end
end

redis.register_function('fg_report', function(keys, args)
  local account, now, report = keys[1], now_ms(args[1]), cmsgpack.unpack(args[2])
  local state = hash(account .. 'state')
  if report.flight then redis.call('ZREM', account .. 'flights', report.flight) end
  local interval = slowest(state, now, report.rate)
  if report.unused and interval and state.slot then
    redis.call('HSET', account .. 'state', 'slot', slot_text(state.slot - report.unused * interval))
  end
  judge(account, state, now, report)
  state = hash(account .. 'state')
  if next(state) and state.breaker ~= 'held' then redis.call('PEXPIRE', account .. 'state', ms(STATE_TTL)) end
  return { ms(now), breaker_of(state, now), state['until'] or '0', state.reason or '',
    ms(math.floor((learned_rate(state, now) or 0) * 1000)), state.pause or '0' }
end)

redis.register_function('fg_admit', function(keys, args)
  local account, now, asked = keys[1], now_ms(args[1]), cmsgpack.unpack(args[2])
  local state = hash(account .. 'state')
  local breaker = breaker_of(state, now)
  local function refuse(reason, due) return { ms(now), 0, ms(now), reason, ms(math.floor(due)), 0 } end
  if breaker == 'held' then return refuse('breaker_open', now + 30000) end
  if breaker == 'open' then return refuse('breaker_open', tonumber(state['until'])) end
  if breaker == 'probing' then return refuse('breaker_open', tonumber(state.probe_until)) end
  if breaker == 'ready' then
    redis.call('HSET', account .. 'state', 'probe', asked.token, 'probe_until', ms(now + asked.lease))
    return { ms(now), 1, ms(now), asked.mails > 1 and 'breaker_open' or '', ms(now + asked.lease), 1 }
  end
  local pause = tonumber(state.pause or 0)
  if pause > now then return refuse('limited', pause) end
  local flights = account .. 'flights'
  if asked.most then
    redis.call('ZREMRANGEBYSCORE', flights, '-inf', ms(now))
    if redis.call('ZCARD', flights) >= asked.most then return refuse('busy', now) end
  end
  local interval, burst = slowest(state, now, asked.rate)
  local count, slot, last = asked.mails, now, now
  if interval then
    count, slot = take_slots(tonumber(state.slot), now, asked.mails, now + asked.patience, interval, burst)
    if count == 0 then return refuse('limited', slot) end
    last = slot - interval
    redis.call('HSET', account .. 'state', 'slot', slot_text(slot))
    redis.call('PEXPIRE', account .. 'state', ms(STATE_TTL))
  end
  if asked.most then
    redis.call('ZADD', flights, ms(now + asked.lease), asked.token)
    redis.call('PEXPIRE', flights, ms(asked.lease))
  end
  return { ms(now), count, ms(math.max(now, math.ceil(last))), count < asked.mails and 'limited' or '', ms(math.floor(slot)), 0 }
end)

redis.register_function('fg_breaker', function(keys, args)
  local account, now = keys[1], now_ms(args[1])
  close_breaker(account)
  if args[2] == 'open' then
    redis.call('HSET', account .. 'state', 'breaker', 'held', 'reason', args[3], 'since', ms(now), 'tries', '0')
    redis.call('PERSIST', account .. 'state')
  end
  return 1
end)
