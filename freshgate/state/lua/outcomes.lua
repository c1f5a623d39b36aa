-- outcomes: what became of each mail, waiting to be sent to where the shop wants to hear of it (`freshgate/outcomes.py`).
-- An outcome is written by the call that brings about what it tells, so none is lost or made up.
-- outcomes  stream: the nine FIELDS of each     outcomes:dropped  string: how many went since too many waited
-- outcomes:turn  hash: token, until of whoever sends them now (ms); tries, due: failures in a row, no call before (ms)
--
-- An outcome is a map: backlog = how many may wait, fields (event '' = nobody wants to hear of it), sent = the event of a
-- send that turns out to have left, or ''.
--
-- fg_take_outcomes  KEYS[1] the shop  ARGV now or "", token, lease (ms), how many at most
--                   REPLY {now, "taken" | "wait" | "empty", when to ask once more or tries, then for each outcome: its id,
--                          the person's user id or "", and the fields; those of erased persons are removed instead}
-- fg_end_outcomes   KEYS[1] the shop  ARGV now or "", token, due or "", 1 = another failure, then the ids that are done
--                   With `due` the lease ends; without, whoever has it goes on, until there is nothing more.
--                   REPLY 1
-- fg_count_outcomes KEYS[1] the shop  REPLY {how many wait, when the oldest was written (ms) or "", how many went}

local FIELDS = { 'event', 'outcome', 'reason', 'trigger', 'send', 'esp', 'person', 'at', 'address' }
local EVENT, OUTCOME, REASON, TRIGGER, PERSON, AT = 1, 2, 3, 4, 7, 8
local TURN_TTL = DAY

-- Beyond the backlog the oldest go: what is new is worth more than what nobody has fetched for so long.
local function emit(shop, outcome)
  local fields = outcome.fields
  if fields[EVENT] == '' then return end
  local key, entry = shop .. 'outcomes', {}
  for i, name in ipairs(FIELDS) do
    entry[#entry + 1] = name
    entry[#entry + 1] = fields[i]
  end
  local dropped = redis.call('XLEN', key) + 1 - outcome.backlog
  redis.call('XADD', key, 'MAXLEN', '=', ms(outcome.backlog), '*', unpack(entry))
  if dropped > 0 then redis.call('INCRBY', key .. ':dropped', ms(dropped)) end
end

-- The send has left after all.
local function as_sent(outcome, reason)
  local fields = { unpack(outcome.fields) }
  fields[EVENT], fields[OUTCOME], fields[REASON] = outcome.sent, 'sent', reason
  return { backlog = outcome.backlog, fields = fields, sent = outcome.sent }
end

-- The user id of the person by now; nil for somebody who asked to be forgotten since.
local function user_of(shop, id, at)
  local state = redis.call('HMGET', person_key(shop, root_of(shop, id)), 't:id', 'del', 'asked')
  if at <= math.max(tonumber(state[2] or 0), tonumber(state[3] or 0)) then return nil end
  return state[1] and string.sub(state[1], STAMP + 1) or ''
end

redis.register_function('fg_take_outcomes', function(keys, args)
  local shop, now = keys[1], now_ms(args[1])
  local key, turn_key = shop .. 'outcomes', shop .. 'outcomes:turn'
  local turn = hash(turn_key)
  if tonumber(turn.due or 0) > now then return { ms(now), 'wait', turn.due } end
  if turn.token and turn.token ~= args[2] and tonumber(turn['until']) > now then
    return { ms(now), 'wait', turn['until'] }
  end
  local reply = { ms(now), 'taken', turn.tries or '0' }
  for _, row in ipairs(redis.call('XRANGE', key, '-', '+', 'COUNT', args[4])) do
    local fields = row[2]
    local user = user_of(shop, fields[2 * PERSON], tonumber(fields[2 * AT]))
    if user then
      reply[#reply + 1] = row[1]
      reply[#reply + 1] = user
      for i = 2, #fields, 2 do reply[#reply + 1] = fields[i] end
    else
      redis.call('XDEL', key, row[1])
    end
  end
  if #reply == 3 then
    redis.call('DEL', turn_key)
    return { ms(now), 'empty', '' }
  end
  redis.call('HSET', turn_key, 'token', args[2], 'until', ms(now + args[3]))
  redis.call('PEXPIRE', turn_key, ms(TURN_TTL))
  return reply
end)

redis.register_function('fg_end_outcomes', function(keys, args)
  local key, turn_key = keys[1] .. 'outcomes', keys[1] .. 'outcomes:turn'
  -- Whoever was overtaken has sent them all the same.
  for i = 5, #args do redis.call('XDEL', key, args[i]) end
  if redis.call('HGET', turn_key, 'token') ~= args[2] then return 1 end
  if args[3] ~= '' then
    redis.call('HSET', turn_key, 'due', args[3])
    redis.call('HDEL', turn_key, 'token', 'until')
    if args[4] == '1' then redis.call('HINCRBY', turn_key, 'tries', 1) end
  else
    redis.call('HDEL', turn_key, 'tries')
  end
  return 1
end)

redis.register_function('fg_count_outcomes', function(keys)
  local key = keys[1] .. 'outcomes'
  local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  return { redis.call('XLEN', key), oldest and string.match(oldest[1], '^%d+') or '',
    tonumber(redis.call('GET', key .. ':dropped') or 0) }
end)
