-- record: what one event writes to one entity, or the fact that two ids are one person.
-- KEYS     one entity a write: fg:{sNN}:p:<id>, fg:{sNN}:o:<id> or fg:{sNN}:a:<id>
-- ARGV[1]  the hours' bucket of the dedupe window; ARGV[2] ... one msgpack map a write:
--   seen   remembered id of the message; absent = no dedupe     again  true = record past the dedupe
--   at     occurred_at, rx received_at (ms)                     ttl    ms, 0 = for ever
--   regs   {{field, stamp, value}, ...}                         clear  stamp of a cart that was emptied
--   starts {{member, mark, due}, ...}: timers started if the mark is news
--   trail  text of the trail entry                              recent member of the newest actions
--   addr   true = this event brings an address                  link   id of the person that this id belongs to
--   into   with link: that person's key; from this id; most     (a merge marks both; one Redis holds both)
--   amb    true = this anonymous id has met a second user       del    erase everything up to this ms
--   claimed  with link: true = nobody but the device itself says so
-- REPLY    one text a write: ok | dup | del | amb | moved <id> | linked | new | other <id> | unproven

local function was_seen(shard, bucket, seen)
  for back = 0, 2 do
    if redis.call('SISMEMBER', shard .. 'seen:' .. ms(bucket - back), seen) == 1 then return true end
  end
  return false
end

local function remember(shard, bucket, seen)
  local key = shard .. 'seen:' .. ms(bucket)
  redis.call('SADD', key, seen)
  -- Three buckets of 12 h are looked at, so a message is known for 24 to 36 h.
  if redis.call('TTL', key) < 0 then redis.call('EXPIRE', key, 129600) end
end

local function link(key, write, now)
  local state = redis.call('HMGET', key, 'to', 'rev', 'amb')
  if state[3] then return 'amb' end
  if write.amb then
    redis.call('HSET', key, 'amb', '1')
    return 'amb'
  end
  if state[1] then return state[1] == write.link and 'linked' or ('other ' .. state[1]) end
  if write.claimed and redis.call('EXISTS', write.into) == 1
      and redis.call('HEXISTS', write.into, 'g:' .. write.from) == 0 then
    -- Somebody who is known already. Until their server says the same, nothing is sent for what this device did.
    if redis.call('HSETNX', key, 'unproven', '1') == 1 then redis.call('HINCRBY', key, 'rev', 1) end
    return 'unproven'
  end
  if state[2] then
    -- From this moment on a gate that reads the target finishes the merge before it decides.
    local target = redis.call('HMGET', write.into, 'to', 'nx', 'g:' .. write.from)
    if not target[1] and not target[3] and tonumber(target[2] or '0') < write.most then
      redis.call('HSET', write.into, 'g:' .. write.from, '1')
      redis.call('HINCRBY', write.into, 'nx', 1)
      redis.call('HINCRBY', write.into, 'rev', 1)
    end
    return 'new'
  end
  redis.call('HSET', key, 'to', write.link)
  redis.call('PEXPIRE', key, ms(write.ttl))
  return 'linked'
end

local function erase(key, del)
  local current = tonumber(redis.call('HGET', key, 'del') or '0')
  if del <= current then return end
  local shard = shard_of(key)
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    local field, value = all[i], all[i + 1]
    local kind = string.sub(field, 1, 2)
    local at = tonumber(string.match(value, '^(%d%d%d%d%d%d%d%d%d%d%d%d%d)') or '0')
    if kind == 'k:' then
      local where, member = string.match(field, '^k:({s%d+}):(.+)$')
      redis.call('ZREM', 'fg:' .. where .. ':timers', member)
      redis.call('HDEL', key, field)
    elseif kind == 'f:' then
      redis.call('ZREM', shard .. 'timers', string.sub(field, 3))
      redis.call('HDEL', key, field)
    elseif kind == 'm:' or kind == 't:' or kind == 'q:' or kind == 'b:' or field == 'cc' or is_line(field) then
      if at <= del then redis.call('HDEL', key, field) end
    end
  end
  redis.call('HSET', key, 'del', ms(del), 'rev', tonumber(redis.call('HGET', key, 'rev') or '0') + 1)
  redis.call('HDEL', key, 'x')
  redis.call('DEL', key .. ':ev', key .. ':dec', key .. ':re')
  redis.call('PEXPIRE', key, 90 * 86400000)
end

local function record_one(key, write, bucket, now)
  if write.link then return link(key, write, now) end
  local shard = shard_of(key)
  if write.seen and not write.again and was_seen(shard, bucket, write.seen) then
    if write.trail then redis.call('LPUSH', key .. ':ev', 'duplicate\t\t' .. write.trail) end
    return 'dup'
  end
  local head = redis.call('HMGET', key, 'to', 'amb', 'del', 'ls')
  if head[2] then return 'amb' end
  if head[1] then return 'moved ' .. head[1] end
  if write.del then
    erase(key, write.del)
    if write.seen then remember(shard, bucket, write.seen) end
    return 'ok'
  end
  if head[3] and write.at <= tonumber(head[3]) then return 'del' end
  if write.clear then clear_cart(key, write.clear) end
  local advanced = write_registers(key, write.regs)
  local said = {}
  for _, start in ipairs(write.starts or {}) do
    if advanced[start[2]] then
      said[#said + 1] = start[1] .. ' ' .. start_timer(key, start[1], start[3]) .. ' ' .. ms(start[3])
    end
  end
  if write.addr then
    for _, text in ipairs(release_parked(key, write.at, write.rx)) do said[#said + 1] = text end
  end
  -- It occurred before a mail that has left: was that mail right?
  if head[4] and write.at <= tonumber(head[4]) then look_back(key, write.rx) end
  local rx = tonumber(redis.call('HGET', key, 'rx') or '0')
  redis.call('HSET', key, 'rx', ms(math.max(rx, write.rx)))
  redis.call('HINCRBY', key, 'rev', 1)
  if write.trail then
    redis.call('LPUSH', key .. ':ev', 'accepted\t' .. table.concat(said, ';') .. '\t' .. write.trail)
    redis.call('LTRIM', key .. ':ev', 0, 199)
  end
  if write.recent then
    redis.call('ZADD', key .. ':re', ms(write.at), write.recent)
    redis.call('ZREMRANGEBYRANK', key .. ':re', 0, -51)
  end
  keep_alive(key, write.ttl, now, write.trail)
  if write.seen then remember(shard, bucket, write.seen) end
  return 'ok'
end

redis.register_function('fg1_record', function(keys, args)
  local bucket, now, replies = tonumber(args[1]), now_ms(), {}
  for i, key in ipairs(keys) do replies[i] = record_one(key, cmsgpack.unpack(args[i + 1]), bucket, now) end
  return replies
end)
