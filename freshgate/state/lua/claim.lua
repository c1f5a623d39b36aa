-- claim and settle: one send, one mail.
-- A claim is the field c:<trigger>:<send id> of the entity that the send belongs to (a person or an order):
--   "<state> <token> <until> <at> <attempts> <version>"   states: claimed, retry, sent, fallback_sent, rejected, unknown, dead
--
-- fg1_claim   KEYS entity, every record that the decision read  ARGV revision read, field, claim
--             and, if the last record is the address: send, now (ms), the cap's n and ms, 1 = refuse beyond it,
--             trigger, and the n and ms of the trigger's own cap ("" = none)
--             REPLY {the new revision | moved <id> | 0 = it moved on | capped = nothing written,
--             then the revision of each record after the claim}
-- fg1_uncount KEYS address  ARGV send, when it was claimed (ms)  REPLY 1: that mail did not leave
-- fg1_settle  KEYS entity  ARGV field, token, claim ("" = release), member, due claimed, due next ("" = done), now (ms)
--             REPLY 1 = written, 0 = somebody else owns it by now (the timer is left alone then)
--             Sends that an operator should look at stand in the lists `unknown` and `dead` of the shard, and nowhere else
-- fg1_replay  KEYS entity  ARGV field, state that the operator saw, claim, member, now (ms)
--             REPLY 1 = the send starts again | the state that it has by now; nothing is written then
-- fg1_park    KEYS person  ARGV revision read, field k:{sNN}:<member>, "<delay> <settle>"  REPLY 1 | 0 = it moved on
-- fg1_retime  KEYS entity  ARGV member, due claimed, due next ("" = done), 1 = our own code failed on it  REPLY 1
--             What failed stays counted with the crashes of workers; every other state resets that count
-- fg1_note    KEYS list of decisions  ARGV entry, most, ttl  REPLY 1

-- keeps_trace: the send may be begun again by an operator, and then links the same event.
local function settle_timer(key, member, claimed, next_due, keeps_trace)
  local shard = shard_of(key)
  -- Whoever brings a send to a state has survived it: what was counted as a crash was a pause, or a long queue.
  redis.call('HDEL', shard .. 'begun', member)
  -- Only what was claimed is taken away: a due that an event set meanwhile stays.
  if redis.call('HGET', shard .. 'leased', member) == claimed then
    redis.call('ZREM', shard .. 'leases', member)
    redis.call('HDEL', shard .. 'leased', member)
  end
  local due = redis.call('ZSCORE', shard .. 'timers', member)
  if due == claimed then
    redis.call('ZREM', shard .. 'timers', member)
    due = nil
  end
  if next_due ~= '' then
    redis.call('ZADD', shard .. 'timers', 'GT', next_due, member)
  elseif not due then
    redis.call('HDEL', key, 'f:' .. member, 'b:' .. member)
    if not keeps_trace then redis.call('HDEL', key, 'p:' .. member) end
  end
end

-- The operator's lists hold exactly the sends that are in that state.
local function list_for_operator(key, member, field, state, now)
  local shard, entry = shard_of(key), key .. ' ' .. member .. ' ' .. field
  for _, list in ipairs({ 'unknown', 'dead' }) do
    if state == list then
      redis.call('ZADD', shard .. list, now, entry)
    else
      redis.call('ZREM', shard .. list, entry)
    end
  end
end

-- How many mails of an address are remembered, and for how long (ms) at least: every cap of a day is exact.
local MAILS, MAILS_TTL = 50, 2 * 86400000

-- The mails of an address, "<at> <send> <trigger>" each, newest first; without this send's own.
local function mails_of(address, send)
  local mails = {}
  for mail in string.gmatch(redis.call('HGET', address, 'mails') or '', '[^;]+') do
    if string.match(mail, '^%d+ (%S+)') ~= send then mails[#mails + 1] = mail end
  end
  return mails
end

-- How many left since then; of one trigger, if it is named.
local function count_since(mails, since, trigger)
  local count = 0
  for _, mail in ipairs(mails) do
    local at, by = string.match(mail, '^(%d+) %S+ (.*)$')
    if tonumber(at) > since and (not trigger or by == trigger) then count = count + 1 end
  end
  return count
end

-- Takes one of the mails that the address may get; false if there is none left. Whoever's person has the address.
local function count_mail(address, send, now, most, window, refuses, trigger, own_most, own_window)
  local mails = mails_of(address, send)
  if refuses == '1' and count_since(mails, tonumber(now) - window) >= most then return false end
  if own_most ~= '' and count_since(mails, tonumber(now) - tonumber(own_window), trigger) >= tonumber(own_most) then
    return false
  end
  table.insert(mails, 1, now .. ' ' .. send .. ' ' .. trigger)
  redis.call('HSET', address, 'mails', table.concat(mails, ';', 1, math.min(#mails, math.max(most, MAILS))))
  -- An address that no event told of: somebody's user id is one.
  if redis.call('HEXISTS', address, 'x') == 0 then
    redis.call('PEXPIRE', address, ms(math.max(window, MAILS_TTL, tonumber(own_window) or 0)))
  end
  return true
end

redis.register_function('fg1_claim', function(keys, args)
  local key = keys[1]
  local state = redis.call('HMGET', key, 'to', 'rev')
  if state[1] then return { 'moved ' .. state[1] } end
  if (state[2] or '0') ~= args[1] then return { '0' } end
  local send, now, most, window, refuses, trigger, own_most, own_window = unpack(args, 4)
  if send and not count_mail(
    keys[#keys], send, now, tonumber(most), tonumber(window), refuses, trigger, own_most, own_window
  ) then
    return { 'capped' }
  end
  local said = { ms(tonumber(args[1]) + 1) }
  redis.call('HSET', key, args[2], args[3], 'rev', said[1])
  for i = 2, #keys do said[i] = redis.call('HGET', keys[i], 'rev') or '0' end
  return said
end)

-- Only that attempt's own entry: a worker that was overtaken must not take away the mail of whoever overtook it.
redis.register_function('fg1_uncount', function(keys, args)
  local own, mails = args[2] .. ' ' .. args[1] .. ' ', {}
  for mail in string.gmatch(redis.call('HGET', keys[1], 'mails') or '', '[^;]+') do
    if string.sub(mail, 1, #own) ~= own then mails[#mails + 1] = mail end
  end
  if #mails > 0 then
    redis.call('HSET', keys[1], 'mails', table.concat(mails, ';'))
  else
    redis.call('HDEL', keys[1], 'mails')
  end
  return '1'
end)

redis.register_function('fg1_settle', function(keys, args)
  local key, field, token = keys[1], args[1], args[2]
  local state = redis.call('HMGET', key, 'to', 'rev', field)
  if state[1] then return 'moved ' .. state[1] end
  if state[3] and string.match(state[3], '^%S+ (%S+)') ~= token then return '0' end
  -- A record that expired meanwhile stays away; every other one has had a revision since the claim, at the latest.
  if state[2] then
    local writes = { 'rev', ms(tonumber(state[2]) + 1) }
    local left = string.match(args[3], '^sent %S+ %d+ (%d+)')
    if left then add(writes, 'ls', left) end
    if args[3] == '' then redis.call('HDEL', key, field) else add(writes, field, args[3]) end
    redis.call('HSET', key, unpack(writes))
  end
  local ended = string.match(args[3], '^%S+') or ''
  settle_timer(key, args[4], args[5], args[6], ended == 'dead' or ended == 'unknown')
  if args[4] ~= '' then list_for_operator(key, args[4], field, ended, args[7]) end
  return '1'
end)

redis.register_function('fg1_replay', function(keys, args)
  local key, field, expected, claim, member, now = keys[1], unpack(args)
  local current = redis.call('HGET', key, field)
  -- A send that was given up without a claim has only its entry in the list.
  local state = current and string.match(current, '^%S+') or (expected == 'dead' and 'dead' or 'gone')
  list_for_operator(key, member, field, state, now)
  if state ~= expected then return state end
  redis.call('HSET', key, field, claim, 'rev', ms(tonumber(redis.call('HGET', key, 'rev') or '0') + 1))
  list_for_operator(key, member, field, 'replay', now)
  redis.call('ZADD', shard_of(key) .. 'timers', now, member)
  return '1'
end)

redis.register_function('fg1_park', function(keys, args)
  local key = keys[1]
  local state = redis.call('HMGET', key, 'to', 'rev')
  if state[1] or (state[2] or '0') ~= args[1] then return '0' end
  redis.call('HSET', key, args[2], args[3], 'parked', '1')
  return '1'
end)

redis.register_function('fg1_retime', function(keys, args)
  local begun = shard_of(keys[1]) .. 'begun'
  local count = args[4] == '1' and (redis.call('HGET', begun, args[1]) or '0')
  settle_timer(keys[1], args[1], args[2], args[3])
  if count then redis.call('HSET', begun, args[1], count) end
  return '1'
end)

redis.register_function('fg1_note', function(keys, args)
  prepend(keys[1], args[1], tonumber(args[2]))
  redis.call('PEXPIRE', keys[1], args[3])
  return '1'
end)
