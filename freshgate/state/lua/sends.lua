-- sends: what is known of a send for which an ESP was called, so that the ESP's reports find its claim.
-- s:<send>  hash, for two weeks:
--   o owner of its claim   f field of the claims   l its entry in the operator's lists   p person of the trail
--   g trigger   a account that was called last   at when it was accepted (ms)
--   e what was reported, ";"-separated, newest first   r "1" = reported before its claim was settled
--   q outcomes of those reports, n their lines for the trail, msgpack: they wait for the person and the trigger, which
--   the claim knows

local SENDS_TTL = 14 * DAY
-- In these states nobody knows if the ESP has the mail; a report says that it has.
local UNSETTLED = { unknown = true, retry = true, dead = true }

local function to_sent(claim) return (string.gsub(claim, '^%S+', 'sent', 1)) end

-- What feedback will need of a send for which the ESP was called. True if it was reported already.
local function index_send(shop, settled, entry, now)
  local key = shop .. 's:' .. settled.send
  redis.call('HSET', key, 'o', settled.owner, 'f', settled.field, 'l', entry,
    'p', settled.note and settled.note[1] or '', 'g', trigger_of(settled.timer), 'a', settled.feedback, 'at', ms(now))
  redis.call('PEXPIRE', key, ms(SENDS_TTL))
  return redis.call('HDEL', key, 'r') == 1
end

-- Of reports that came before the claim was settled: now it is known whom they are about.
local function emit_early(shop, settled)
  local key = shop .. 's:' .. settled.send
  local early = redis.call('HGET', key, 'q')
  if not early then return end
  redis.call('HDEL', key, 'q')
  for _, outcome in ipairs(cmsgpack.unpack(early)) do
    outcome.fields[PERSON], outcome.fields[TRIGGER] = settled.note and settled.note[1] or '', trigger_of(settled.timer)
    emit(shop, outcome)
  end
end

-- Sets the register of an address; it stays without TTL, and whoever decided on the older state decides once more.
local function set_address_register(shop, id, field, stamp, value)
  local key = address_key(shop, id)
  if not newer(redis.call('HGET', key, field), stamp) then return false end
  redis.call('HSET', key, field, stamp .. value, 'x', 'forever')
  redis.call('HINCRBY', key, 'rev', 1)
  redis.call('PERSIST', key)
  return true
end
