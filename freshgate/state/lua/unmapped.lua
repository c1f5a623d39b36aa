-- unmapped: names that arrived and no event type is called, for `python -m adapter unmapped`.
-- hash  source TAB name -> count SPACE last seen (ms) SPACE shape (JSON, or nothing)
--
-- fg_unmapped   KEYS the hash   ARGV most names, now (ms), forget after (ms), then name, count, shape for each
--                A name that was not seen for that long makes room; names that find none are not noted.
-- fg_trail      KEYS[1] the shop   ARGV for each event: the user's record or "", the device's or "", occurred_at (ms), text
--                Those of a person who is known stand on the trail then. They change nothing else.

-- A list of their own, so that they wash nothing away that decides on mails.
local UNMAPPED_ENTRIES = 20

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
    end
  end
end)

redis.register_function('fg_trail', function(keys, args)
  local shop = keys[1]
  for i = 1, #args, 4 do
    local id
    for j = 0, 1 do
      if not id and args[i + j] ~= '' and redis.call('EXISTS', person_key(shop, args[i + j])) == 1 then id = args[i + j] end
    end
    if id then
      local key = person_key(shop, id)
      local del = redis.call('HGET', key, 'del') or '0'
      local asked = redis.call('HGET', person_key(shop, root_of(shop, id)), 'asked') or '0'
      if tonumber(args[i + 2]) > math.max(tonumber(del), tonumber(asked)) then
        prepend(key .. ':un', args[i + 3], UNMAPPED_ENTRIES, PERSON_TTL)
        local left = redis.call('PTTL', key)
        if left > 0 then redis.call('PEXPIRE', key .. ':un', ms(left)) end
      end
    end
  end
end)
