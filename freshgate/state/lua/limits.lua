-- limits: how much a source and an IP address may send; and when events were refused last.
-- limit:<name>…  count, or set of members, of a window        gap  see `note_gap`

local GAP_PAUSE_MS = 600000

local function exceeds(key, most, members)
  if #members == 0 then return tonumber(redis.call('GET', key) or '0') >= most end
  local unknown = 0
  for _, known in ipairs(redis.call('SMISMEMBER', key, unpack(members))) do unknown = unknown + 1 - known end
  return unknown > 0 and redis.call('SCARD', key) + unknown > most
end

-- All are asked before any is counted. The request that reaches a limit still passes, however large it is, unless it
-- is members that are counted. A window begins with the first that is counted in it.
local function limit(limits)
  for _, one in ipairs(limits) do
    local name, key, most, window, members = one[1], one[2], one[3], one[4], one[6]
    if exceeds(key, most, members) then
      local left = redis.call('PTTL', key)
      return 'limited ' .. name .. ' ' .. ms(left > 0 and left or window)
    end
  end
  for _, one in ipairs(limits) do
    local key, window, cost, members = one[2], one[4], one[5], one[6]
    if #members > 0 then redis.call('SADD', key, unpack(members)) else redis.call('INCRBY', key, ms(cost)) end
    if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ms(window)) end
  end
end

-- "<when events were refused last> <since when they are, with pauses of at most GAP_PAUSE_MS>"
local function note_gap(shop, now)
  local last, since = string.match(redis.call('GET', shop .. 'gap') or '', '^(%d+) (%d+)$')
  if not last or now - tonumber(last) > GAP_PAUSE_MS then since = ms(now) end
  redis.call('SET', shop .. 'gap', ms(now) .. ' ' .. since, 'PX', ms(DAY))
end
