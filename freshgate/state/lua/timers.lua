-- timers: due timers are leased, not removed for good; whoever finishes one takes its lease away.
-- timers:<trigger>  zset timer -> due     triggers  set of the triggers that have timers
-- leases  zset timer -> until             leased  hash timer -> due
-- begun   hash timer -> how often it took its worker down; a timer whose lease ran out is in it
--
-- fg_claim_due  KEYS[1] the shop  ARGV now or "", most (0 = only look), lease (ms), "" or a msgpack map: groups {trigger -> group; '*' for
--               all others}, left {group -> how many at most}; a group that `left` does not name is not limited
--               REPLY {now, next due or "", timer, due, returned (0/1), ...}

local MAX_EXPIRED = 100

local function return_expired(shop, now)
  for _, timer in ipairs(redis.call('ZRANGEBYSCORE', shop .. 'leases', '-inf', ms(now), 'LIMIT', 0, MAX_EXPIRED)) do
    local due = redis.call('HGET', shop .. 'leased', timer)
    redis.call('ZREM', shop .. 'leases', timer)
    redis.call('HDEL', shop .. 'leased', timer)
    set_timer(shop, timer, tonumber(due or now))
    redis.call('HSETNX', shop .. 'begun', timer, '0')
  end
end

redis.register_function('fg_claim_due', function(keys, args)
  local shop, now, left, lease = keys[1], now_ms(args[1]), tonumber(args[2]), tonumber(args[3])
  return_expired(shop, now)
  local limits = args[4] and args[4] ~= '' and cmsgpack.unpack(args[4]) or { groups = {}, left = {} }
  local triggers = redis.call('SMEMBERS', shop .. 'triggers')
  local reply, next_due = { ms(now), '' }, nil
  for i = 1, #triggers do
    -- Whoever is first takes what a group has left: each is first at times.
    local trigger = triggers[(i + now) % #triggers + 1]
    local group = limits.groups[trigger] or limits.groups['*'] or ''
    local timers = shop .. 'timers:' .. trigger
    -- Each trigger gets its share of what is left; what one does not need is for the next.
    local share = math.min(limits.left[group] or math.huge, math.ceil(left / (#triggers - i + 1)))
    local due = share > 0 and redis.call('ZRANGEBYSCORE', timers, '-inf', ms(now), 'WITHSCORES', 'LIMIT', 0, share) or {}
    for j = 1, #due, 2 do
      local timer = due[j]
      if redis.call('HSETNX', shop .. 'leased', timer, due[j + 1]) == 1 then
        redis.call('ZREM', timers, timer)
        redis.call('ZADD', shop .. 'leases', ms(now + lease), timer)
        reply[#reply + 1] = timer
        reply[#reply + 1] = due[j + 1]
        reply[#reply + 1] = redis.call('HEXISTS', shop .. 'begun', timer)
        left = left - 1
        if limits.left[group] then limits.left[group] = limits.left[group] - 1 end
      end
    end
    local first = redis.call('ZRANGE', timers, 0, 0, 'WITHSCORES')
    if first[2] then
      -- What may not be claimed wakes nobody.
      if (limits.left[group] or 1) > 0 and (not next_due or tonumber(first[2]) < next_due) then
        next_due = tonumber(first[2])
      end
    else
      redis.call('SREM', shop .. 'triggers', trigger)
    end
  end
  if next_due then reply[2] = ms(next_due) end
  return reply
end)
