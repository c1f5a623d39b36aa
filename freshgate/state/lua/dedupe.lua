-- dedupe: messages that were recorded before, by the hash of their id.
-- seen:<bucket>  set of the messages of 12 h

local BUCKET_MS = DAY / 2
local TRAIL_ENTRIES = 200

local function was_seen(shop, bucket, seen)
  for back = 0, 2 do
    if redis.call('SISMEMBER', shop .. 'seen:' .. ms(bucket - back), seen) == 1 then return true end
  end
  return false
end

local function remember(shop, bucket, seen)
  redis.call('SADD', shop .. 'seen:' .. ms(bucket), seen)
end

-- Three buckets of 12 h are looked at, so a message is known for 24 to 36 h.
local function expire_seen(shop, bucket)
  local key = shop .. 'seen:' .. ms(bucket)
  if redis.call('TTL', key) == -1 then redis.call('EXPIRE', key, 129600) end
end

-- A repeated message is a line on the trail, once: repetitions must not wash the trail away.
local function note_duplicate(key, trail)
  local list, entry = key .. ':ev', 'duplicate\t\t' .. trail
  if redis.call('EXISTS', list) == 0 then return end
  for _, known in ipairs(redis.call('LRANGE', list, 0, 9)) do
    if string.sub(known, 1, 9) == 'duplicate' and string.match(known, '"id":"[^"]*"') == string.match(entry, '"id":"[^"]*"') then
      return
    end
  end
  prepend(list, entry, TRAIL_ENTRIES, PERSON_TTL)
end
