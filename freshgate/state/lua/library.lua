-- Shared by all functions of the library: keys, stamps, registers, timers.
-- A register is a hash field whose value starts with a 15 character stamp (freshgate/state/stamps.py); the newest wins.
-- Each call works on one shop. KEYS[1] is the shop's prefix, "fg:{main}:"; all its keys carry that hash tag, so one call
-- is atomic over all of them, on one Redis as in a Cluster. docs/REDIS.md lists every key and field.

local STAMP, STAMP_TIME = 15, 8
local DAY = 86400000
local PERSON_TTL = 180 * DAY

-- Of a whole number, as all times are; a tenth of the work of '%.0f'.
local function ms(n) return string.format('%d', n) end

-- Redis' clock, unless the caller brings the time along: tests do.
local function now_ms(given)
  if given and given ~= '' then return tonumber(given) end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function person_key(shop, id) return shop .. 'p:' .. id end
local function order_key(shop, id) return shop .. 'o:' .. id end
local function address_key(shop, id) return shop .. 'a:' .. id end
local function is_device(id) return string.sub(id, 1, 1) == 'a' end

-- A timer is "<scope>|<kind>:<id>"; the scope is the trigger, and "#<key>" behind it where its subject is a field's value.
local function scope_of(timer) return string.match(timer, '^[^|]*') end
local function trigger_of(timer) return string.match(timer, '^[^|#]*') end

-- A register is not older than its own stamp, whatever its text.
local function newer(current, stamp)
  return not current or current < stamp
end

-- The time of a stamp (ms) has eight digits to base 36.
local function stamp_ms(stamped) return tonumber(string.sub(stamped, 1, STAMP_TIME), 36) end

-- What the stamps of that millisecond begin with.
local function stamp_time(at)
  local digits = ''
  for _ = 1, STAMP_TIME do
    local digit = at % 36
    digits = string.char(digit + (digit < 10 and 48 or 87)) .. digits
    at = (at - digit) / 36
  end
  return digits
end

-- To what one HSET will write: {field, value, field, value ...}. Nils in it make room at once, since a table that grows is
-- made again and again.
local function add(writes, field, value)
  writes[#writes + 1] = field
  writes[#writes + 1] = value
end

local function to_map(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

local function hash(key) return to_map(redis.call('HGETALL', key)) end

-- Sets many fields; Lua passes on no more than some thousands of arguments at once.
local function set_all(key, writes)
  for first = 1, #writes, 2000 do
    redis.call('HSET', key, unpack(writes, first, math.min(first + 1999, #writes)))
  end
end

-- The words of a text.
local function list_of(text)
  local words = {}
  for word in string.gmatch(text or '', '%S+') do words[#words + 1] = word end
  return words
end

local function remove_all(key, fields)
  for first = 1, #fields, 2000 do
    redis.call('HDEL', key, unpack(fields, first, math.min(first + 1999, #fields)))
  end
end

-- A record has moved on: whoever read an older revision cannot claim. A record that this creates expires like a person.
local function bump(key)
  if redis.call('HINCRBY', key, 'rev', 1) == 1 then redis.call('PEXPIRE', key, ms(PERSON_TTL)) end
end

-- Adds `count` registers of the list to `writes` if they are news.
-- The register i is {list[names + i], list[values + i]}, and stands in current[after + i] as it is now.
local function news(list, names, values, count, current, after, writes)
  local n = #writes
  for i = 1, count do
    local name, value, known = list[names + i], list[values + i], current[after + i]
    if newer(known, string.sub(value, 1, STAMP)) then
      writes[n + 1], writes[n + 2] = name, value
      n = n + 2
    end
  end
end

-- A text that a call asks for again and again: `make` of the number that it was made of last.
local function remembering(make)
  local known, text
  return function(n)
    if n ~= known then known, text = n, make(n) end
    return text
  end
end

local text_of_now, text_of_wait, text_of_ttl = remembering(ms), remembering(ms), remembering(ms)
local text_of_day = remembering(function(now) return ms(math.floor(now / DAY)) end)

-- One refresh of the ttls a day is enough for lives of weeks, and saves three commands an event. The field x has the
-- day of the newest, or 'forever'. This is its next value, or nil where nothing is to be done.
local function next_refresh(last, ttl, now)
  if last == 'forever' then return nil end
  local next = ttl == 0 and 'forever' or text_of_day(now)
  return next ~= last and next or nil
end

local function keep_alive(key, ttl, has_trail)
  if ttl == 0 then
    redis.call('PERSIST', key)
    return
  end
  redis.call('PEXPIRE', key, text_of_ttl(ttl))
  if has_trail then redis.call('PEXPIRE', key .. ':ev', text_of_ttl(ttl)) end
end

-- The newest `most` entries are kept.
local function prepend(list, entry, most, ttl)
  local count = redis.call('LPUSH', list, entry)
  if count > most then redis.call('LTRIM', list, 0, most - 1) end
  if count == 1 then redis.call('PEXPIRE', list, text_of_ttl(ttl)) end
end

-- The timer is due at `due` at the earliest; at `due` with the condition 'CH', and at the latest with 'LT'.
-- Each trigger has its own set, so that a backlog of one delays no other.
local function set_timer(shop, timer, due, condition)
  local trigger = trigger_of(timer)
  if redis.call('ZADD', shop .. 'timers:' .. trigger, condition or 'GT', ms(due), timer) == 1 then
    redis.call('SADD', shop .. 'triggers', trigger)
  end
end

-- When the timer is due: while it waits, or as it was when it was leased.
local function due_of(shop, timer)
  return redis.call('HGET', shop .. 'leased', timer)
    or redis.call('ZSCORE', shop .. 'timers:' .. trigger_of(timer), timer)
end

-- Mails that have left are looked at again, once the burst that brought this is in. `ls` is when the newest one left.
local function look_back(shop, kind, id, now)
  set_timer(shop, 'lookback|' .. kind .. ':' .. id, now + 1000)
end
