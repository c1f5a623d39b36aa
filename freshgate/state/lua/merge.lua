-- merge: an anonymous id's record moves into the person it turned out to be. Four steps, each may be repeated.
-- fg1_merge_begin  KEYS person            ARGV anonymous id, limit       REPLY ok | full | moved <id>
-- fg1_merge_take   KEYS anonymous person  ARGV person id, ttl            REPLY {hash, events, decisions, timers} | other <id>
-- fg1_merge_fold   KEYS person            ARGV msgpack of what was taken REPLY ok | moved <id>
-- fg1_merge_drop   KEYS anonymous person                                 REPLY ok

redis.register_function('fg1_merge_begin', function(keys, args)
  local key, from, limit = keys[1], args[1], tonumber(args[2])
  local state = redis.call('HMGET', key, 'to', 'nx', 'n:' .. from, 'g:' .. from)
  if state[1] then return 'moved ' .. state[1] end
  if state[3] or state[4] then return 'ok' end
  if tonumber(state[2] or '0') >= limit then return 'full' end
  redis.call('HSET', key, 'g:' .. from, '1')
  redis.call('HINCRBY', key, 'nx', 1)
  redis.call('HINCRBY', key, 'rev', 1)
  return 'ok'
end)

redis.register_function('fg1_merge_take', function(keys, args)
  local key = keys[1]
  local to = redis.call('HGET', key, 'to')
  if to and to ~= args[1] then return 'other ' .. to end
  redis.call('HSET', key, 'to', args[1])
  redis.call('HINCRBY', key, 'rev', 1)
  redis.call('PEXPIRE', key, args[2])
  local hash = redis.call('HGETALL', key)
  local timers, shard = {}, shard_of(key)
  for i = 1, #hash, 2 do
    local member = string.match(hash[i], '^f:(.+)$')
    if member then
      local due = redis.call('ZSCORE', shard .. 'timers', member) or redis.call('HGET', shard .. 'leased', member)
      if due then
        timers[#timers + 1] = member
        timers[#timers + 1] = due
      end
    end
  end
  return {
    hash,
    redis.call('LRANGE', key .. ':ev', 0, -1),
    redis.call('LRANGE', key .. ':dec', 0, -1),
    timers,
  }
end)

local function fold_trail(key, entries, keep)
  for _, entry in ipairs(entries) do redis.call('RPUSH', key, entry) end
  redis.call('LTRIM', key, 0, keep)
end

local function fold_registers(key, registers)
  local fields, writes = {}, {}
  for i, register in ipairs(registers) do fields[i] = register[1] end
  local current = redis.call('HMGET', key, 'cc', unpack(fields))
  news(registers, current, 1, current[1], writes)
  if #writes > 0 then redis.call('HSET', key, unpack(writes)) end
end

redis.register_function('fg1_merge_fold', function(keys, args)
  local key, taken = keys[1], cmsgpack.unpack(args[1])
  local state = redis.call('HMGET', key, 'to', 'n:' .. taken.from, 'rx', 'del')
  if state[1] then return 'moved ' .. state[1] end
  if not state[2] then
    local del = tonumber(state[4] or '0')
    if taken.clear and newer(redis.call('HGET', key, 'cc'), taken.clear) then
      redis.call('HSET', key, 'cc', taken.clear)
      drop_lines(key, taken.clear)
    end
    local registers = {}
    for _, register in ipairs(taken.regs) do
      if tonumber(string.sub(register[2], 1, 13)) > del or tonumber(string.sub(register[2], 1, 13)) == 0 then
        registers[#registers + 1] = register
      end
    end
    fold_registers(key, registers)
    for _, pair in ipairs(taken.fields) do redis.call('HSETNX', key, pair[1], pair[2]) end
    fold_trail(key .. ':ev', taken.events, 199)
    fold_trail(key .. ':dec', taken.decisions, 99)
    for _, timer in ipairs(taken.timers) do
      redis.call('ZADD', shard_of(key) .. 'timers', 'GT', ms(timer[2]), timer[1])
      redis.call('HSET', key, 'f:' .. timer[1], ms(timer[2]))
    end
    redis.call('HSET', key, 'n:' .. taken.from, '1', 'rx', ms(math.max(tonumber(state[3] or '0'), taken.rx)))
    local left = math.max(tonumber(redis.call('HGET', key, 'ls') or '0'), taken.ls)
    if left > 0 then
      redis.call('HSET', key, 'ls', ms(left))
      look_back(key, taken.rx)
    end
    redis.call('HDEL', key, 'x')
    keep_alive(key, taken.ttl, true)
    redis.call('PEXPIRE', key .. ':dec', ms(taken.ttl))
  end
  local addresses = redis.call('HMGET', key, 't:email', 't:said_email')
  if addresses[1] or addresses[2] then release_parked(key, taken.at, taken.rx) end
  redis.call('HDEL', key, 'g:' .. taken.from)
  redis.call('HINCRBY', key, 'rev', 1)
  return 'ok'
end)

redis.register_function('fg1_merge_drop', function(keys)
  local key = keys[1]
  local shard = shard_of(key)
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local field = all[i]
    local member = string.match(field, '^f:(.+)$')
    if member then
      redis.call('ZREM', shard .. 'timers', member)
      redis.call('ZREM', shard .. 'leases', member)
      redis.call('HDEL', shard .. 'leased', member)
    end
    if field ~= 'to' and field ~= 'amb' then redis.call('HDEL', key, field) end
  end
  redis.call('DEL', key .. ':ev', key .. ':dec')
  return 'ok'
end)
