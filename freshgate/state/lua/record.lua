-- record: what one event writes to one entity, or the fact that two ids are one person.
-- KEYS     one entity a write: fg:{sNN}:p:<id>, fg:{sNN}:o:<id> or fg:{sNN}:a:<id>
-- ARGV[1]  the hours' bucket of the dedupe window; ARGV[2] ... one msgpack map a write:
--   seen   remembered id of the message; absent = no dedupe     again  true = record past the dedupe
--   at     occurred_at, rx received_at (ms)                     ttl    ms, 0 = for ever
--   regs   {{field, stamp, value}, ...}                         clear  stamp of a cart that was emptied
--   starts {{member, mark, due}, ...}: timers started if the mark is news
--   trail  text of the trail entry                              link   id of the person that this id belongs to;
--   addr   true = this event brings an address                         `most` ids are folded into one person
--   sup    true = an opt-out, a bounce or a complaint without an address: it holds for the one that the person has
--   del    erase everything up to this ms                       head   index of the write that has the event's verdict
--   trace  what the timers carry along: the trace of the event that set them
--   claimed  with link: true = nobody but the device itself says so
--   claims   id of the person that a page says the device belongs to
-- and last  if there are any, msgpack of the limits that the request must keep to:
--   {{name, key, most, window (ms), cost, {member, ...}}, ...}
-- REPLY    one text a write: ok | ok <id of the person that the id now belongs to> | dup | del | amb | skip
--          of a link: linked | merged | ambiguous | amb | full | cycle | unproven
--          or only: limited <name> <ms until it is over>; then nothing is written

local TRAIL_ENTRIES = 200

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

-- The id at `key` belongs to the person of `write`: from now on it points there, and what it has is folded in.
local function link(key, write)
  local state = redis.call('HMGET', key, 'to', 'rev', 'amb')
  if state[3] then return 'amb' end
  local into = person_key(write.link)
  if state[1] then
    if resolve(key) == resolve(into) then return 'linked' end
    -- It met another person before: what it says alone is nobody's from now on.
    redis.call('HSET', key, 'amb', '1')
    return 'ambiguous'
  end
  if write.claimed and redis.call('EXISTS', into) == 1 then
    -- Somebody who is known already. Until their server says the same, nothing is sent for what this device did.
    if redis.call('HSETNX', key, 'unproven', '1') == 1 then redis.call('HINCRBY', key, 'rev', 1) end
    return 'unproven'
  end
  into = resolve(into)
  if into == key then return 'cycle' end
  if not state[2] then
    redis.call('HSET', key, 'to', id_of(into))
    redis.call('PEXPIRE', key, ms(PERSON_TTL))
    return 'linked'
  end
  if tonumber(redis.call('HGET', into, 'nx') or '0') >= write.most then
    redis.call('HSET', key, 'amb', '1')
    return 'full'
  end
  fold(key, into, write.at)
  return 'merged'
end

-- What the entity says of itself, in the order in which `as_read` asks; the registers' fields follow.
local TO, AMB, DEL, LEFT, RX, REV, REFRESHED, CLEARED, PARKED, SUPPRESSED, HEAD = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10

local function as_read(key, registers)
  local fields = { 'to', 'amb', 'del', 'ls', 'rx', 'rev', 'x', 'cc', 'parked', 'sup' }
  for i, register in ipairs(registers) do fields[HEAD + i] = register[1] end
  return redis.call('HMGET', key, unpack(fields))
end

-- Sets the timers whose mark is news; their first dues bound how long settling may defer them, and go into `writes`.
local function start_timers(shard, starts, advanced, trace, writes)
  local said = {}
  for _, start in ipairs(starts) do
    local member, due = start[1], ms(start[3])
    if advanced[start[2]] then
      -- A timer only ever moves later by news.
      local is_new = redis.call('ZADD', shard .. 'timers', 'GT', due, member) == 1
      add(writes, 'f:' .. member, due)
      if trace then add(writes, 'p:' .. member, trace) end
      said[#said + 1] = member .. (is_new and ' set ' or ' moved ') .. due
    end
  end
  return said
end

-- A command costs more than what it does: all is read by one and written by one.
local function record_one(key, write, bucket, now)
  if write.link then return link(key, write) end
  local registers, told_as = write.regs or {}, nil
  local shard, state
  while true do
    shard = shard_of(key)
    if write.seen and not write.again and was_seen(shard, bucket, write.seen) then
      if write.trail then prepend(key .. ':ev', 'duplicate\t\t' .. write.trail, TRAIL_ENTRIES) end
      return 'dup'
    end
    state = as_read(key, registers)
    if state[AMB] then return 'amb' end
    if not state[TO] then break end
    told_as = told_as or key
    key = resolve(key)
  end
  if told_as then
    if write.claims and key ~= resolve(person_key(write.claims)) then
      -- Another user of the same device.
      redis.call('HSET', told_as, 'amb', '1')
      return 'amb'
    end
    redis.call('PEXPIRE', told_as, ms(PERSON_TTL))
    for _, start in ipairs(write.starts or {}) do
      start[1] = string.gsub(start[1], id_of(told_as) .. '$', id_of(key))
    end
  end
  if write.del then
    erase(key, write.del)
    if write.seen then remember(shard, bucket, write.seen) end
    return 'ok'
  end
  if state[DEL] and write.at <= tonumber(state[DEL]) then return 'del' end
  local writes = {
    'rx', ms(math.max(tonumber(state[RX] or '0'), write.rx)),
    'rev', ms(tonumber(state[REV] or '0') + 1),
  }
  local cleared = state[CLEARED]
  if write.clear and newer(cleared, write.clear) then
    cleared = write.clear
    add(writes, 'cc', cleared)
    if state[REV] then drop_lines(key, cleared) end
  end
  local refresh = next_refresh(state[REFRESHED], write.ttl, now)
  if refresh then add(writes, 'x', refresh) end
  local advanced = news(registers, state, HEAD, cleared, writes)
  local said = start_timers(shard, write.starts or {}, advanced, write.trace, writes)
  if write.sup then add(writes, 'sup', '1') end
  redis.call('HSET', key, unpack(writes))
  if write.sup or (state[SUPPRESSED] and (advanced['A:email'] or advanced['A:said_email'] or advanced['A:id'])) then
    suppress_address(key)
  end
  if write.addr and state[PARKED] then
    for _, text in ipairs(release_parked(key, write.at, write.rx)) do said[#said + 1] = text end
  end
  -- It occurred before a mail that has left: was that mail right?
  if state[LEFT] and write.at <= tonumber(state[LEFT]) then look_back(key, write.rx) end
  if write.trail then
    prepend(key .. ':ev', 'accepted\t' .. table.concat(said, ';') .. '\t' .. write.trail, TRAIL_ENTRIES)
  end
  if refresh then keep_alive(key, write.ttl, write.trail) end
  if write.seen then remember(shard, bucket, write.seen) end
  return told_as and ('ok ' .. id_of(key)) or 'ok'
end

-- One event, one verdict: what it says of orders and addresses does not happen where it is nobody's, or nothing new.
-- A link is said again by a repeated event on purpose; saying it twice changes nothing.
local function verdict_of(head, write)
  if head == 'amb' or head == 'del' then return head end
  return head == 'dup' and not write.link and head or nil
end

local function exceeds(key, most, members)
  if #members == 0 then return tonumber(redis.call('GET', key) or '0') >= most end
  local unknown = 0
  for _, known in ipairs(redis.call('SMISMEMBER', key, unpack(members))) do unknown = unknown + 1 - known end
  return unknown > 0 and redis.call('SCARD', key) + unknown > most
end

-- All are asked before any is counted. The request that reaches a limit still passes, however large it is, unless it
-- is members that are counted. A window begins with the first that is counted in it.
local function limit(limits)
  for _, one in ipairs(limits) do
    local name, key, most, window, members = one[1], one[2], one[3], one[4], one[6]
    if exceeds(key, most, members) then
      local left = redis.call('PTTL', key)
      return 'limited ' .. name .. ' ' .. ms(left > 0 and left or window)
    end
  end
  for _, one in ipairs(limits) do
    local key, window, cost, members = one[2], one[4], one[5], one[6]
    if #members > 0 then redis.call('SADD', key, unpack(members)) else redis.call('INCRBY', key, ms(cost)) end
    if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ms(window)) end
  end
end

redis.register_function('fg1_record', function(keys, args)
  local bucket, now, replies = tonumber(args[1]), now_ms(), {}
  local limits = args[#keys + 2]
  local limited = limits and limit(cmsgpack.unpack(limits))
  if limited then return { limited } end
  for i, key in ipairs(keys) do
    local write = cmsgpack.unpack(args[i + 1])
    replies[i] = write.head and verdict_of(replies[write.head], write) and 'skip' or record_one(key, write, bucket, now)
  end
  return replies
end)
