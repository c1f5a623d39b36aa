-- merge: erasing a person's record, and folding one person's record into another's, in the call that links the two.
-- What was folded leaves a tombstone: the field `to` names the person that everything of this id goes to from now on.

local PERSON_TTL = 180 * 86400000
local HSET_FIELDS = 500

local function shard_tag(id)
  return string.format('{s%02d}', tonumber(string.sub(id, -2), 16) % 64)
end

local function person_key(id)
  return 'fg:' .. shard_tag(id) .. ':p:' .. id
end

local function id_of(key)
  return string.match(key, '([^:]+)$')
end

-- The key of the person that lives, behind any number of tombstones. The first of them then points there itself.
local function resolve(key)
  local last, hops = key, 0
  while hops < 100 do
    local to = redis.call('HGET', last, 'to')
    if not to then break end
    last, hops = person_key(to), hops + 1
  end
  if hops > 1 then redis.call('HSET', key, 'to', id_of(last)) end
  return last
end

-- What the person refused, told without an address, holds for the address that the person has by now: whichever came
-- first, and for every person with that address. It never expires there.
local function suppress_address(key)
  local state = redis.call('HMGET', key, 'A:email', 'A:said_email', 'A:id', 'm:unsubscribed', 'm:bounced', 'm:spam')
  local known = state[1] or state[2] or state[3]
  if not known then return end
  local id = string.sub(known, STAMP + 1)
  local address = 'fg:' .. shard_tag(id) .. ':a:' .. id
  for i, field in ipairs({ 'm:unsubscribed', 'm:bounced', 'm:spam' }) do
    local value = state[i + 3]
    if value and newer(redis.call('HGET', address, field), string.sub(value, 1, STAMP)) then
      redis.call('HSET', address, field, value, 'x', 'forever')
      redis.call('HINCRBY', address, 'rev', 1)
      redis.call('PERSIST', address)
    end
  end
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
      redis.call('HDEL', key, field, 'p:' .. string.sub(field, 3))
    elseif kind == 'm:' or kind == 't:' or kind == 'A:' or kind == 'q:' or kind == 'b:' or field == 'cc'
        or is_line(field) then
      if at <= del then redis.call('HDEL', key, field) end
    end
  end
  redis.call('HSET', key, 'del', ms(del), 'rev', tonumber(redis.call('HGET', key, 'rev') or '0') + 1)
  redis.call('HDEL', key, 'x')
  redis.call('DEL', key .. ':ev', key .. ':dec')
  redis.call('PEXPIRE', key, 90 * 86400000)
end

-- Sets the registers that are news, some hundreds at a time: Lua passes on no more than some thousands at once.
local function fold_registers(key, registers)
  local cleared = redis.call('HGET', key, 'cc')
  for first = 1, #registers, HSET_FIELDS do
    local some, fields, writes = {}, {}, {}
    for i = first, math.min(first + HSET_FIELDS - 1, #registers) do
      some[#some + 1] = registers[i]
      fields[#fields + 1] = registers[i][1]
    end
    news(some, redis.call('HMGET', key, unpack(fields)), 0, cleared, writes)
    if #writes > 0 then redis.call('HSET', key, unpack(writes)) end
  end
end

-- The trail of `from` goes behind that of `key`; readers sort it by time.
local function fold_trail(from, key, list, most)
  for _, entry in ipairs(redis.call('LRANGE', from .. list, 0, -1)) do redis.call('RPUSH', key .. list, entry) end
  redis.call('LTRIM', key .. list, 0, most - 1)
  redis.call('DEL', from .. list)
end

-- A timer of `from` goes on under the person's name, with its due; a lease too, since the settle asks for the new name.
local function fold_timer(from, key, member, renamed)
  local shard = shard_of(from)
  local due = redis.call('ZSCORE', shard .. 'timers', member) or redis.call('HGET', shard .. 'leased', member)
  redis.call('ZREM', shard .. 'timers', member)
  redis.call('ZREM', shard .. 'leases', member)
  redis.call('HDEL', shard .. 'leased', member)
  if due then
    redis.call('ZADD', shard_of(key) .. 'timers', 'GT', due, renamed)
    redis.call('HSET', key, 'f:' .. renamed, due)
  end
end

-- Folds the record at `from` into the person at `key`; `at` is when the event occurred that links them (ms).
local function fold(from, key, at)
  local from_id, id = id_of(from), id_of(key)
  local function renamed(member)
    local trigger, subject = string.match(member, '^(.*)|p:([^|]+)$')
    return subject == from_id and trigger .. '|p:' .. id or member
  end
  local all, own = redis.call('HGETALL', from), {}
  for i = 1, #all, 2 do own[all[i]] = all[i + 1] end
  -- Whoever asked to be erased under one id is erased under all of them.
  local del = tonumber(own.del or '0')
  if del > 0 then erase(key, del) end
  del = math.max(del, tonumber(redis.call('HGET', key, 'del') or '0'))
  if own.cc and tonumber(string.sub(own.cc, 1, 13)) > del and newer(redis.call('HGET', key, 'cc'), own.cc) then
    redis.call('HSET', key, 'cc', own.cc)
    drop_lines(key, own.cc)
  end
  local registers = {}
  for field, value in pairs(own) do
    local kind = string.sub(field, 1, 2)
    if kind == 'm:' or kind == 't:' or kind == 'A:' or kind == 'q:' or is_line(field) then
      local told = tonumber(string.sub(value, 1, 13))
      if told > del or told == 0 then
        registers[#registers + 1] = { field, string.sub(value, 1, STAMP), string.sub(value, STAMP + 1) }
      end
    elseif kind == 'c:' or kind == 'z:' then
      redis.call('HSETNX', key, field, value)
    elseif kind == 'p:' or kind == 'b:' then
      redis.call('HSETNX', key, kind .. renamed(string.sub(field, 3)), value)
    elseif kind == 'f:' then
      local member = string.sub(field, 3)
      fold_timer(from, key, member, renamed(member))
    elseif kind == 'k:' then
      -- A parked send of the person itself moves along; one of an order stays in the order's shard.
      local where, member = string.match(field, '^k:({s%d+}):(.+)$')
      if renamed(member) ~= member then where = shard_tag(id) end
      redis.call('HSET', key, 'k:' .. where .. ':' .. renamed(member), value, 'parked', '1')
    end
  end
  fold_registers(key, registers)
  fold_trail(from, key, ':ev', 200)
  fold_trail(from, key, ':dec', 100)
  local state = redis.call('HMGET', key, 'rx', 'ls', 'rev', 'nx', 't:email', 't:said_email')
  local rx = math.max(tonumber(state[1] or '0'), tonumber(own.rx or '0'))
  local left = math.max(tonumber(state[2] or '0'), tonumber(own.ls or '0'))
  local devices = tonumber(state[4] or '0') + 1 + tonumber(own.nx or '0')
  redis.call('HSET', key, 'rx', ms(rx), 'rev', ms(tonumber(state[3] or '0') + 1), 'nx', ms(devices))
  if left > 0 then
    redis.call('HSET', key, 'ls', ms(left))
    look_back(key, rx)
  end
  if own.sup or redis.call('HEXISTS', key, 'sup') == 1 then
    redis.call('HSET', key, 'sup', '1')
    suppress_address(key)
  end
  redis.call('HDEL', key, 'x')
  keep_alive(key, PERSON_TTL, true)
  redis.call('PEXPIRE', key .. ':dec', ms(PERSON_TTL))
  if state[5] or state[6] then release_parked(key, at, rx) end
  redis.call('DEL', from)
  redis.call('HSET', from, 'to', id)
  redis.call('PEXPIRE', from, ms(PERSON_TTL))
end
