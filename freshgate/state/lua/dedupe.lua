-- dedupe: messages that were recorded before, by the hash of their id: 64 bits as a decimal number.
-- seen:<day>:<part>  set of the messages of 24 h whose number ends so, and 0. Small sets of numbers take 8 bytes each.

local BUCKET_MS = DAY
local TRAIL_ENTRIES = 200

-- What the keys of today and of yesterday begin with: two days are looked at, so a message is known for 24 to 48 h.
local function seen_days(shop, now)
  local bucket = math.floor(now / BUCKET_MS)
  return { shop .. 'seen:' .. ms(bucket) .. ':', shop .. 'seen:' .. ms(bucket - 1) .. ':' }
end

-- Returns whether the message is new.
local function remember(days, seen)
  local part = string.sub(seen, -4)
  local key = days[1] .. part
  -- With the 0, one call says of a new message whether the set is new as well.
  local added = redis.call('SADD', key, seen, '0')
  if added == 0 then return false end
  if added == 2 then redis.call('EXPIRE', key, 172800) end
  return redis.call('SISMEMBER', days[2] .. part, seen) == 0
end

local function forget(days, seen)
  redis.call('SREM', days[1] .. string.sub(seen, -4), seen)
end

-- A repeated message is a line on the trail, once: repetitions must not wash the trail away.
local function note_duplicate(key, trail)
  local list = key .. ':ev'
  if redis.call('EXISTS', list) == 0 then return end
  local head = 'dup\t\t' .. (string.match(trail, '^%["[^"]*"') or '')
  for _, known in ipairs(redis.call('LRANGE', list, 0, TRAIL_ENTRIES - 1)) do
    if string.sub(known, 1, #head) == head then return end
  end
  prepend(list, 'dup\t\t' .. trail, TRAIL_ENTRIES, PERSON_TTL)
end
