-- timers: due members are leased, not removed for good; whoever finishes one takes its lease away.
-- fg<shard>timers  zset member -> due     fg<shard>leases  zset member -> until     fg<shard>leased  hash member -> due
--
-- fg1_claim_due   KEYS the timers sets   ARGV most, lease ms
--                 REPLY {now, next due or "", {member, due, returned (0/1), ...}}: by Redis' own clock
-- fg1_start       KEYS a timers set      ARGV member, due   REPLY 1: due at that time whatever it was before

redis.register_function('fg1_claim_due', function(keys, args)
  local now, left, lease = now_ms(), tonumber(args[1]), tonumber(args[2])
  local out, next_due = {}, nil
  for _, timers in ipairs(keys) do
    local shard = shard_of(timers)
    local expired = redis.call('ZRANGEBYSCORE', shard .. 'leases', '-inf', ms(now), 'LIMIT', 0, 100)
    for _, member in ipairs(expired) do
      local due = redis.call('HGET', shard .. 'leased', member)
      redis.call('ZREM', shard .. 'leases', member)
      redis.call('HDEL', shard .. 'leased', member)
      redis.call('ZADD', timers, 'GT', due or ms(now), member)
      redis.call('HSETNX', shard .. 'begun', member, '0')
    end
    if left > 0 then
      local due = redis.call('ZRANGEBYSCORE', timers, '-inf', ms(now), 'WITHSCORES', 'LIMIT', 0, left)
      for i = 1, #due, 2 do
        local member = due[i]
        if redis.call('HSETNX', shard .. 'leased', member, due[i + 1]) == 1 then
          redis.call('ZREM', timers, member)
          redis.call('ZADD', shard .. 'leases', ms(now + lease), member)
          out[#out + 1] = member
          out[#out + 1] = due[i + 1]
          out[#out + 1] = redis.call('HEXISTS', shard .. 'begun', member)
          left = left - 1
        end
      end
    end
    local first = redis.call('ZRANGE', timers, 0, 0, 'WITHSCORES')
    if first[2] and (not next_due or tonumber(first[2]) < next_due) then next_due = tonumber(first[2]) end
  end
  return { ms(now), next_due and ms(next_due) or '', out }
end)

redis.register_function('fg1_start', function(keys, args)
  redis.call('ZADD', keys[1], args[2], args[1])
  return '1'
end)
