-- account: what all workers of all hosts share about an ESP account: its breaker, its limits, what is paced.
-- KEYS[1] is the account's prefix, "fg:account:{shop}:". `state` is a hash:
--   breaker  "open" | "held" (by an operator); missing = closed     reason, since (ms), tries    why, since when
--   until    when a probe may try (ms)      probe, probe_until      the call that tries, and until when we wait for it
--   row      failures without a success between them; a call with many mails weighs as much as three
--   slot     when the next mail of the rate may leave (ms)          pause    no call before that (ms)
--   learned, learned_at, peak   mails a second that were taken when the account answered 429, when, and the rate then
-- `calls` hash: c<s>, f<s>, m<s>: calls, failures and mails taken in a second     `flights` zset: call -> end of its lease
-- `pace` hash: slot (ms), ramp (as it is set), since (ms)
--
-- A rate is {mails, window (ms)}: at most so many in any window of that length.
--
-- fg_report  ARGV now or "", msgpack map of what happened since the last report; all may be missing:
--              calls, failures, mails      counts      weight  of the failures
--              blocked  1 = the account was refused (401, 403)      limited  a 429, with the pause that it asked for (ms)
--              wait     the first pause before a probe (ms)         probe {token, "taken" | "failed" | "unused"}
--              flight   the token of a call that is over            unused   mails of the rate that did not leave
--              rate     the rate that is set
--            REPLY {now, "closed" | "open" | "held" | "probing" | "ready" = a probe may try, until or 0, reason,
--                   mails of the learned limit in 1000 s or 0, pause or 0}
-- fg_admit   ARGV now or "", msgpack map: mails, patience (ms), token, lease (ms), rate, most (calls at once); the last
--              two may be missing
--            REPLY {now, how many may leave, when the last of them may (ms), "" | "breaker_open" | "limited" | "busy" =
--                   too many calls at once, when the others may ask (ms), 1 = this call is the probe}
-- fg_pace    ARGV now or "", msgpack map: mails (fewer than 0 = given back), rate or missing, ramp {text, first, factor,
--              last} or missing
--            REPLY {now, how many may leave}
-- fg_breaker ARGV now or "", "open" | "close", reason  REPLY 1

local WINDOW_S, MIN_CALLS, MIN_SHARE, MIN_ROW = 10, 20, 0.5, 5
-- How much longer than the first the pause before a probe gets.
local MAX_PAUSES = 12
local STATE_TTL, PACE_TTL = 7 * DAY, 400 * DAY
-- A limit that was learned: its share of what was taken, its growth in 10 s, and when it is forgotten.
local DECREASE, GROWTH, FORGOTTEN_AT = 0.7, 1.05, 4
-- Calls that were on their way together are answered 429 together: one lesson.
local LESSON_MS, MIN_PAUSE, MAX_PAUSE = 1000, 1000, 600000

-- The time between two mails of a rate, and how many may leave at once after a pause: a tenth of a second's, so that
-- waking up a little late costs nothing. Their sum keeps every window.
local function spacing(rate)
  local burst = 1 + math.floor(math.min(rate[1] / 20, rate[1] * 100 / rate[2]))
  return rate[2] / (rate[1] - burst + 1), burst
end

-- Up to `mails` slots that come by `latest`. Returns how many, and the next free one.
local function take_slots(slot, now, mails, latest, interval, burst)
  slot = math.max(slot or 0, now - (burst - 1) * interval)
  local count = math.max(0, math.min(mails, math.floor((latest - slot) / interval) + 1))
  return count, slot + count * interval
end

local function slot_text(slot) return string.format('%.3f', slot) end

-- Mails a second, or nil.
local function learned_rate(state, now)
  if not state.learned then return nil end
  local rate = tonumber(state.learned) * GROWTH ^ ((now - tonumber(state.learned_at)) / 10000)
  return rate < tonumber(state.peak) * FORGOTTEN_AT and rate or nil
end

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

-- Adds to the counts of this second, and returns those of the window: calls, failures, and the mails of its best second.
local function count_calls(account, now, report)
  local key, second = account .. 'calls', math.floor(now / 1000)
  for field, count in pairs({ c = report.calls, f = report.failures, m = report.mails }) do
    if count and count > 0 then redis.call('HINCRBY', key, field .. ms(second), count) end
  end
  redis.call('EXPIRE', key, 60)
  local calls, failures, mails = 0, 0, 0
  for field, count in pairs(hash(key)) do
    local kind, at = string.sub(field, 1, 1), tonumber(string.sub(field, 2))
    if at <= second - WINDOW_S then
      redis.call('HDEL', key, field)
    elseif kind == 'c' then
      calls = calls + count
    elseif kind == 'f' then
      failures = failures + count
    elseif at > second - 3 then
      mails = math.max(mails, tonumber(count))
    end
  end
  return calls, failures, mails
end

local function learn(account, state, now, pause, best_second, rate)
  redis.call('HSET', account .. 'state', 'pause',
    ms(math.max(tonumber(state.pause or 0), now + math.min(math.max(pause, MIN_PAUSE), MAX_PAUSE))))
  if state.learned_at and now < tonumber(state.learned_at) + LESSON_MS then return end
  local known = learned_rate(state, now)
  local set = rate and rate[1] * 1000 / rate[2]
  -- At least one mail in ten seconds, or nothing would ever tell that the limit is gone.
  local peak = math.max(0.1, math.min(known or math.huge, set or math.huge, best_second > 0 and best_second or 1))
  redis.call('HSET', account .. 'state', 'learned', slot_text(math.max(0.1, peak * DECREASE)), 'learned_at', ms(now),
    'peak', slot_text(peak))
end

local function judge(account, state, now, report)
  local calls, failures, best_second = 0, 0, 0
  if report.calls or report.limited then calls, failures, best_second = count_calls(account, now, report) end
  if report.limited then learn(account, state, now, report.limited, best_second, report.rate) end
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
  if row >= MIN_ROW or (calls >= MIN_CALLS and failures >= calls * MIN_SHARE) then
    return open_breaker(account, state, now, 'failing', report.wait)
  end
  if row > 0 then
    redis.call('HSET', account .. 'state', 'row', ms(row))
  elseif state.row then
    redis.call('HDEL', account .. 'state', 'row')
  end
end

-- The slower one of the rate that is set and the one that was learned: interval and burst; nil without either.
local function slowest(state, now, rate)
  local learned, interval, burst = learned_rate(state, now), nil, nil
  if rate then interval, burst = spacing(rate) end
  if learned and (not interval or 1000 / learned > interval) then return 1000 / learned, 1 end
  return interval, burst
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

-- The rate of today: that of the ramp until it is over, never more than the one that is set; nil without a limit.
local function pace_of(pace, now, asked)
  local ramp, today = asked.ramp, nil
  if ramp then
    local day = math.floor((now - tonumber(pace.since)) / DAY)
    local mails = ramp[2] * ramp[3] ^ math.min(day, 1000)
    if mails < ramp[4] then today = { mails, DAY } end
  end
  if not today then return asked.rate end
  local rate = asked.rate
  return rate and rate[1] / rate[2] < today[1] / today[2] and rate or today
end

redis.register_function('fg_pace', function(keys, args)
  local key, now, asked = keys[1] .. 'pace', now_ms(args[1]), cmsgpack.unpack(args[2])
  local pace = hash(key)
  -- Another ramp begins today.
  if asked.ramp and pace.ramp ~= asked.ramp[1] then
    pace.ramp, pace.since = asked.ramp[1], ms(now)
    redis.call('HSET', key, 'ramp', pace.ramp, 'since', pace.since)
  end
  local rate = pace_of(pace, now, asked)
  if not rate then return { ms(now), math.max(0, asked.mails) } end
  local interval, burst = spacing(rate)
  local count, slot
  if asked.mails < 0 then
    count, slot = 0, tonumber(pace.slot or now) + asked.mails * interval
  else
    count, slot = take_slots(tonumber(pace.slot), now, asked.mails, now, interval, burst)
  end
  redis.call('HSET', key, 'slot', slot_text(slot))
  redis.call('PEXPIRE', key, ms(PACE_TTL))
  return { ms(now), count }
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
