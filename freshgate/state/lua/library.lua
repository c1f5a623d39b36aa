-- Shared by all functions of the library: keys, stamps and registers.
-- A register is a hash field whose value starts with a 22 character stamp (see freshgate/state/stamps.py); newest wins.
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
local function drop_lines(key, cleared)
  local all = redis.call('HGETALL', key)
  for i = 1, #all, 2 do
    if is_line(all[i]) and string.sub(all[i + 1], 1, STAMP) < cleared then redis.call('HDEL', key, all[i]) end
  end
end

-- To what one HSET will write: {field, value, field, value ...}.
local function add(writes, field, value)
  writes[#writes + 1] = field
  writes[#writes + 1] = value
end

-- Adds the registers that are news to `writes`; returns the set of their fields.
-- The register i stands in current[after + i] as it is now; `cleared` is when the cart was emptied, if it was.
local function news(registers, current, after, cleared, writes)
  local advanced = {}
  for i, register in ipairs(registers) do
    local field, stamp = register[1], register[2]
    if newer(current[after + i], stamp) and not (cleared and is_line(field) and stamp < cleared) then
      add(writes, field, stamp .. register[3])
      advanced[field] = true
    end
  end
  return advanced
end

-- One refresh of the ttls a day is enough for lives of weeks, and saves three commands an event. The field x has the
-- day of the newest, or 'forever'. This is its next value, or nil where nothing is to be done.
local function next_refresh(last, ttl, now)
  if last == 'forever' then return nil end
  local next = ttl == 0 and 'forever' or ms(math.floor(now / 86400000))
  return next ~= last and next or nil
end

local function keep_alive(key, ttl, lists)
  if ttl == 0 then
    redis.call('PERSIST', key)
    return
  end
  redis.call('PEXPIRE', key, ms(ttl))
  if lists then redis.call('PEXPIRE', key .. ':ev', ms(ttl)) end
end

-- The newest `most` entries are kept.
local function prepend(list, entry, most)
  if redis.call('LPUSH', list, entry) > most then redis.call('LTRIM', list, 0, most - 1) end
end

-- Mails that have left are looked at again, once the burst that brought this is in. `ls` is when the newest one left.
local function look_back(key, received)
  local kind, id = string.match(key, ':(%a):([^:]+)$')
  redis.call('ZADD', shard_of(key) .. 'timers', 'GT', ms(received + 1000), 'lookback|' .. kind .. ':' .. id)
end

-- An address has come: parked sends are due again. A waiting one takes the address as activity (delay > 0).
-- The field `parked` says that there are some, so that nobody else reads the whole entity for nothing.
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
  redis.call('HDEL', key, 'parked')
  return said
end
