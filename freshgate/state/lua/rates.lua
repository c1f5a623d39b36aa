-- rates: how many mails of an ESP account may leave in a time: by a rate that is set, by one that 429 taught, by the pace
-- of its marketing mails. A rate is {mails, window (ms)}: at most so many in any window of that length.
-- KEYS[1] is the account's prefix, "fg:account:{shop}:". `pace` is a hash: slot (ms), ramp (as it is set), since (ms)
--
-- fg_pace    ARGV now or "", msgpack map: mails (fewer than 0 = given back), rate or missing, ramp {text, first, factor,
--              last} or missing
--            REPLY {now, how many may leave}

local PACE_TTL = 400 * DAY
-- A limit that was learned begins with this share of what was taken, grows by so much of it in a second (after ten it is
-- all of it), and is forgotten at twice of it.
local DECREASE, GROWTH, FORGOTTEN_AT = 0.7, 0.03, 2
-- 429 teaches a limit when its share of the last calls, about so many, is so much larger than what is normal: the share
-- that was left when the rate had been lowered, and so does not depend on it. More than a third is never normal.
local SHARE_CALLS, MIN_EXCESS, MAX_NORMAL, NORMAL_TTL = 30, 0.2, 1 / 3, 300000
-- How much was taken is not known before two seconds of calls; such a share teaches at once.
local LARGE_SHARE = 0.5
-- After a lesson come answers to calls that were on their way, then those that show what is normal; then the next lesson.
local ECHO_MS, LESSON_MS, MIN_PAUSE, MAX_PAUSE = 1000, 6000, 1000, 600000

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
  if not state.peak then return nil end
  local grown = DECREASE + GROWTH * (now - tonumber(state.learned_at)) / 1000
  -- At least a mail in ten seconds, or nothing would ever tell that the limit is gone.
  return grown < FORGOTTEN_AT and math.max(0.1, tonumber(state.peak) * grown) or nil
end

-- What a report says about the rate. A 429 that asks for a pause gets it; without, all pause for a second only while
-- nothing is taken. `window` is what `count_calls` returns.
local function learn(account, state, now, report, window)
  local known = learned_rate(state, now)
  local age = state.learned_at and now - tonumber(state.learned_at) or math.huge
  local share = tonumber(redis.call('HGET', account .. 'calls', 'share') or 0)
  if not report.limited and share == 0 then return end
  if report.limited and (report.limited > 0 or window.best == 0) then
    local pause = math.min(math.max(report.limited, MIN_PAUSE), MAX_PAUSE)
    redis.call('HSET', account .. 'state', 'pause', ms(math.max(tonumber(state.pause or 0), now + pause)))
  end
  if age < ECHO_MS then return end
  share = share * (1 - 1 / SHARE_CALLS) ^ (report.calls or 0)
  if report.limited then share = share + (1 - share) / SHARE_CALLS end
  local normal = age < NORMAL_TTL and tonumber(state.normal or 0) or 0
  if age < LESSON_MS then
    normal = math.min(MAX_NORMAL, window.later_429 / math.max(1, window.later_429 + window.later_calls))
    redis.call('HSET', account .. 'state', 'normal', string.format('%.4f', normal))
  elseif report.limited and share >= normal + MIN_EXCESS and (window.seconds > 2 or share >= LARGE_SHARE) then
    local set = report.rate and report.rate[1] * 1000 / report.rate[2]
    local taken = window.best > 0 and window.best / (1 - normal) or not known and 1 or math.huge
    redis.call('HSET', account .. 'state', 'peak', slot_text(math.min(known or math.huge, set or math.huge, taken)),
      'learned_at', ms(now), 'normal', '0')
    share = 0
  end
  redis.call('HSET', account .. 'calls', 'share', string.format('%.4f', share))
end

-- The slower one of the rate that is set and the one that was learned: interval and burst; nil without either.
local function slowest(state, now, rate)
  local learned, interval, burst = learned_rate(state, now), nil, nil
  if rate then interval, burst = spacing(rate) end
  if learned and (not interval or 1000 / learned > interval) then return 1000 / learned, 1 end
  return interval, burst
end

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
