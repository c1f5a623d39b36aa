-- unmapped: names that arrived and no event type is called, for `python -m adapter unmapped`.
-- hash  source TAB name -> count SPACE last seen (ms) SPACE shape (JSON, or nothing)
--
-- fg_unmapped   KEYS the hash   ARGV most names, now (ms), forget after (ms), then name, count, shape for each
--                REPLY how many names found no room. A name that was not seen for that long makes room.

redis.register_function('fg_unmapped', function(keys, args)
  local most, now, forget = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
  if redis.call('HLEN', keys[1]) + (#args - 3) / 3 > most then
    local all = redis.call('HGETALL', keys[1])
    for i = 1, #all, 2 do
      local last = tonumber(string.match(all[i + 1], '^%d+ (%d+)'))
      if not last or last < now - forget then redis.call('HDEL', keys[1], all[i]) end
    end
  end
  local room = most - redis.call('HLEN', keys[1])
  local left = 0
  for i = 4, #args, 3 do
    local known = redis.call('HGET', keys[1], args[i])
    if known or room > 0 then
      local count, shape = tonumber(args[i + 1]), args[i + 2]
      if known then
        local before, _, had = string.match(known, '^(%d+) (%d+) (.*)$')
        count = count + (tonumber(before) or 0)
        if shape == '' then shape = had or '' end
      else
        room = room - 1
      end
      redis.call('HSET', keys[1], args[i], string.format('%.0f %.0f %s', count, now, shape))
    else
      left = left + 1
    end
  end
  return left
end)
