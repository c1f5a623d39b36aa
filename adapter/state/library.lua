-- Shared by all functions of the library: keys, stamps and registers.
-- A register is a hash field whose value starts with a 22 character stamp (see adapter/state/stamps.py); newest wins.
-- Every key of one call carries the same hash tag {sNN}, so that a Redis Cluster could hold it.

local STAMP = 22

local function ms(n) return string.format('%.0f', n) end

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function newer(current, stamp)
  return not current or string.sub(current, 1, STAMP) < stamp
end

-- "fg:{s07}:p:abc" -> "fg:{s07}:"
local function shard_of(key)
  return string.match(key, '^[^}]+}:')
end

local function is_line(field)
  local first = string.byte(field, 1)
  return first == 43 or first == 45 -- '+' a line was added, '-' a line was removed
end

-- Lines that are older than the newest clear can never be in the cart again.
local function clear_cart(key, stamp)
  if not newer(redis.call('HGET', key, 'cc'), stamp) then return end
  redis.call('HSET', key, 'cc', stamp)
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if is_line(all[i]) and string.sub(all[i + 1], 1, STAMP) < stamp then redis.call('HDEL', key, all[i]) end
  end
end

-- Writes the registers that are news; returns the set of those fields.
local function write_registers(key, registers)
  local advanced = {}
  if #registers == 0 then return advanced end
  local fields = {}
  for i, register in ipairs(registers) do fields[i] = register[1] end
  local current = redis.call('HMGET', key, 'cc', unpack(fields))
  local cleared = current[1]
  local writes = {}
  for i, register in ipairs(registers) do
    local field, stamp = register[1], register[2]
    if newer(current[i + 1], stamp) and not (cleared and is_line(field) and stamp < cleared) then
      writes[#writes + 1] = field
      writes[#writes + 1] = stamp .. register[3]
      advanced[field] = true
    end
  end
  if #writes > 0 then redis.call('HSET', key, unpack(writes)) end
  return advanced
end

-- One refresh a day and entity is enough for lives of weeks, and saves three commands an event.
local function keep_alive(key, ttl, now, lists)
  if ttl == 0 then
    redis.call('HSET', key, 'x', 'forever')
    redis.call('PERSIST', key)
    return
  end
  local day = ms(math.floor(now / 86400000))
  local last = redis.call('HGET', key, 'x')
  if last == day or last == 'forever' then return end
  redis.call('HSET', key, 'x', day)
  redis.call('PEXPIRE', key, ms(ttl))
  if lists then
    redis.call('PEXPIRE', key .. ':ev', ms(ttl))
    redis.call('PEXPIRE', key .. ':re', ms(ttl))
  end
end

-- A timer only ever moves later by news; the first due bounds how long settling may defer it.
local function start_timer(key, member, due)
  local timers = shard_of(key) .. 'timers'
  local before = redis.call('ZSCORE', timers, member)
  redis.call('ZADD', timers, 'GT', ms(due), member)
  redis.call('HSET', key, 'f:' .. member, ms(due))
  return before and 'moved' or 'set'
end

-- Mails that have left are looked at again, once the burst that brought this is in. `ls` is when the newest one left.
local function look_back(key, received)
  local kind, id = string.match(key, ':(%a):([^:]+)$')
  redis.call('ZADD', shard_of(key) .. 'timers', 'GT', ms(received + 1000), 'lookback|' .. kind .. ':' .. id)
end

-- An address has come: parked sends are due again. A waiting one takes the address as activity (delay > 0).
local function release_parked(key, at, received)
  local all = redis.call('HGETALL', key)
  local said = {}
  for i = 1, #all, 2 do
    local shard, member = string.match(all[i], '^k:({s%d+}):(.+)$')
    if member then
      local delay, settle = string.match(all[i + 1], '^(%d+) (%d+)$')
      local due = math.max(at + tonumber(delay), received + tonumber(settle))
      redis.call('HDEL', key, all[i])
      if tonumber(delay) > 0 then redis.call('HSET', key, 'b:' .. member, ms(at)) end
      redis.call('ZADD', 'fg:' .. shard .. ':timers', ms(due), member)
      said[#said + 1] = member .. ' released ' .. ms(due)
    end
  end
  return said
end
