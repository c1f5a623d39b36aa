-- claim and settle: one send, one mail.
-- The claims of a scope are the field c:<scope> of the record that its sends belong to, one line each, newest first:
--   "<send id> <state> <token> <until> <at> <attempts> <version>"
--   states: claimed, retry, replay, sent, fallback_sent, rejected, unknown, dead
--
-- fg_claim   KEYS[1] the shop  ARGV now or "", msgpack map:
--              owner    "p:<id>" or "o:<id>"    field, send, claim (the text after the send id), keep (most lines)
--              before   the time (ms) at which it is too late: whoever sent this does not wait for the reply any more
--              reads    {{"<kind>:<id>", revision}, ...}: every record that the decision read
--              address  the recipient's, if mails to it are counted: {id, trigger, {most, window, refuses} of all
--                       triggers, {most, window} of this one, or {}}
--            REPLY {now, "ok" | "moved" = a record moved on, or too late | "capped"}; nothing is written but for "ok"
-- fg_settle  KEYS[1] the shop  ARGV now or "", msgpack map; all but `owner` may be missing:
--              owner, field, send, token, claim ("" = given back), keep
--              revision of the owner that was read; else nothing is written
--              timer, due claimed, next due or "" (done), failed = our own code failed on it
--              deferred  the due that others gave the timer while they waited for this claim: its end
--              park {field, value}              list  the operator's list that the send goes to or leaves
--              uncount {address id, at}         note {person, key, text}
--              outcome  that the shop hears of: `outcomes.lua`
--              feedback = the account's reports are wanted: `sends.lua`
--            REPLY 1 | 0 = somebody else owns it, or it moved on; nothing is written then
-- fg_replay  KEYS[1] the shop  ARGV now or "", msgpack map: owner, field, send, timer, expected state, claim
--            REPLY "1" = the send starts again | the state that it has by now; nothing is written then
-- fg_close   KEYS[1] the shop  ARGV list, entry  REPLY 1 = it was there
-- fg_suppress  KEYS[1] the shop  ARGV now or "", msgpack map: the word of an operator, or of a reader by a link, about
--              an address: address, field, stamp, value, note (text for the trail of whoever has the address), perhaps outcome
--            REPLY 1 | 0 = something newer stands there; nothing is written then
-- fg_crash   KEYS[1] the shop  ARGV timer  REPLY how often this send took its worker down

local MAX_LISTED = 10000
local LISTS = { 'unknown', 'dead', 'rejected' }
local NOTES, NOTES_TTL = 100, 180 * DAY
-- How many mails of an address are remembered, and for how long (ms) at least: every cap of a day is exact.
local MAILS, MAILS_TTL = 50, 2 * DAY
-- A claim in one of these states is not over.
local OPEN = { claimed = true, retry = true, replay = true }

local function parse_claims(text)
  local claims = {}
  for line in string.gmatch(text or '', '[^\n]+') do
    claims[#claims + 1] = { send = string.match(line, '^%S+'), state = string.match(line, '^%S+ (%S+)'), line = line }
  end
  return claims
end

local function claim_of(key, field, send)
  for _, claim in ipairs(parse_claims(redis.call('HGET', key, field))) do
    if claim.send == send then return claim end
  end
end

-- `text` is nil where the claim goes. What is over is remembered up to `keep` lines.
local function write_claim(key, field, send, text, keep)
  local lines = text and { send .. ' ' .. text } or {}
  for _, claim in ipairs(parse_claims(redis.call('HGET', key, field))) do
    if claim.send ~= send and (#lines < keep or OPEN[claim.state]) then lines[#lines + 1] = claim.line end
  end
  if #lines == 0 then redis.call('HDEL', key, field) else redis.call('HSET', key, field, table.concat(lines, '\n')) end
end

-- Of a trigger whose subject is a field's value: the subjects whose sends were begun last, and those with an open claim.
local function bound_claims(key, field)
  local head = string.match(field, '^c:[^#]*#')
  local fields = head and fields_of(key, head) or {}
  if #fields <= MAX_SUBJECTS then return end
  local oldest, oldest_at
  for _, other in ipairs(fields) do
    local is_open, newest = false, 0
    for _, claim in ipairs(parse_claims(redis.call('HGET', key, other))) do
      is_open = is_open or OPEN[claim.state]
      newest = math.max(newest, tonumber(string.match(claim.line, '^%S+ %S+ %S+ %S+ (%d+)')))
    end
    if not is_open and (not oldest or newest < oldest_at) then oldest, oldest_at = other, newest end
  end
  if oldest then redis.call('HDEL', key, oldest) end
end

-- The mails of an address, "<at> <send> <trigger>" each, newest first; without this send's own.
local function mails_of(key, send)
  local mails = {}
  for mail in string.gmatch(redis.call('HGET', key, 'mails') or '', '[^;]+') do
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
local function count_mail(shop, address, send, now)
  local key, trigger, all, own = address_key(shop, address[1]), address[2], address[3], address[4]
  local mails = mails_of(key, send)
  if all[3] and count_since(mails, now - all[2]) >= all[1] then return false end
  if own[1] and count_since(mails, now - own[2], trigger) >= own[1] then return false end
  table.insert(mails, 1, ms(now) .. ' ' .. send .. ' ' .. trigger)
  redis.call('HSET', key, 'mails', table.concat(mails, ';', 1, math.min(#mails, math.max(all[1], MAILS))))
  -- An address that no event told of: somebody's user id is one.
  if redis.call('HEXISTS', key, 'x') == 0 then
    redis.call('PEXPIRE', key, ms(math.max(all[2], MAILS_TTL, own[2] or 0)))
  end
  return true
end

redis.register_function('fg_claim', function(keys, args)
  local shop, now, claim = keys[1], now_ms(args[1]), cmsgpack.unpack(args[2])
  -- A Redis that stood still carries out what its callers have given up: nobody would call the ESP for this claim.
  if now >= claim.before then return { ms(now), 'moved' } end
  for _, read in ipairs(claim.reads) do
    local state = redis.call('HMGET', shop .. read[1], 'rev', 'to')
    if (state[1] or '0') ~= read[2] or state[2] then return { ms(now), 'moved' } end
  end
  if claim.address and not count_mail(shop, claim.address, claim.send, now) then return { ms(now), 'capped' } end
  local key = shop .. claim.owner
  write_claim(key, claim.field, claim.send, claim.claim, claim.keep)
  bound_claims(key, claim.field)
  bump(key)
  return { ms(now), 'ok' }
end)

-- Returns the person with whom an order's send was parked, where that is over.
local function settle_timer(shop, timer, settled, keeps_trace)
  local next_due, parked_with = settled.next, nil
  local scope, kind = string.match(timer, '^([^|]*)|(%a)')
  local timers = shop .. 'timers:' .. trigger_of(timer)
  -- Whoever brings a send to a state has survived it: what was counted as a crash was a pause, or a long queue.
  if settled.failed then redis.call('HSETNX', shop .. 'begun', timer, '0') else redis.call('HDEL', shop .. 'begun', timer) end
  -- Only what was claimed is taken away: a due that an event set meanwhile stays.
  local ours = { [settled.due] = true, [settled.deferred or settled.due] = true }
  if ours[redis.call('HGET', shop .. 'leased', timer)] then
    redis.call('ZREM', shop .. 'leases', timer)
    redis.call('HDEL', shop .. 'leased', timer)
  end
  local due = redis.call('ZSCORE', timers, timer)
  if ours[due] then
    redis.call('ZREM', timers, timer)
    due = nil
  end
  if next_due then
    set_timer(shop, timer, next_due)
  elseif not due then
    local key = shop .. string.match(timer, '|(.+)$')
    if kind == 'o' then parked_with = redis.call('HGET', key, 'k:' .. timer) end
    redis.call('HDEL', key, 'f:' .. scope, 'b:' .. scope, 'k:' .. timer)
    if parked_with then unpark_order(shop, timer) end
    if not keeps_trace then redis.call('HDEL', key, 'p:' .. scope) end
  end
  return parked_with
end

-- The operator's lists hold exactly the sends that are in that state.
local function list_for_operator(shop, entry, state, now)
  for _, list in ipairs(LISTS) do
    if state == list then
      -- Beyond that the oldest go: a list that long needs another look than one by one.
      if redis.call('ZADD', shop .. 'list:' .. list, ms(now), entry) == 1 then
        redis.call('ZREMRANGEBYRANK', shop .. 'list:' .. list, 0, -MAX_LISTED - 1)
      end
    else
      redis.call('ZREM', shop .. 'list:' .. list, entry)
    end
  end
end

-- Only that attempt's own entry: a worker that was overtaken must not take away the mail of whoever overtook it.
local function uncount(shop, address, send, at)
  local key, own, mails = address_key(shop, address), ms(at) .. ' ' .. send .. ' ', {}
  for mail in string.gmatch(redis.call('HGET', key, 'mails') or '', '[^;]+') do
    if string.sub(mail, 1, #own) ~= own then mails[#mails + 1] = mail end
  end
  if #mails > 0 then redis.call('HSET', key, 'mails', table.concat(mails, ';')) else redis.call('HDEL', key, 'mails') end
end

-- A line on the trail: "<count>\t<key>\t<JSON>". The same thing once more raises the count of the line that has it, so
-- that repetitions wash nothing away.
local function note(shop, person, same, text)
  local list = person_key(shop, person) .. ':dec'
  for i, known in ipairs(redis.call('LRANGE', list, 0, 4)) do
    local count, key = string.match(known, '^(%d+)\t([^\t]*)\t')
    if key == same and same ~= '' then
      redis.call('LSET', list, i - 1, ms(tonumber(count) + 1) .. '\t' .. key .. '\t' .. text)
      return
    end
  end
  prepend(list, '1\t' .. same .. '\t' .. text, NOTES, NOTES_TTL)
end

-- What was reported before the claim was settled, on the trail of whom it is about.
local function note_early(shop, settled, is_sent)
  local key, person = shop .. 's:' .. settled.send, settled.note and settled.note[1]
  local early = redis.call('HGET', key, 'n')
  if not person then return end
  for _, line in ipairs(early and cmsgpack.unpack(early) or {}) do
    line.trigger = trigger_of(settled.timer)
    note(shop, person, line.send .. ' ' .. line.state, cjson.encode(line))
    if is_sent then
      line.state, line.reason, is_sent = 'sent', 'reported_by_esp', false
      note(shop, person, '', cjson.encode(line))
    end
  end
  redis.call('HDEL', key, 'n')
end

-- The entry in an operator's list. It has the timer by the name that it has with the claim's owner, so that every
-- settlement names the same entry.
local function entry_of(settled)
  local timer = scope_of(settled.timer) .. '|' .. settled.owner
  return settled.owner .. ' ' .. timer .. ' ' .. settled.field .. ' ' .. settled.send
end

redis.register_function('fg_settle', function(keys, args)
  local shop, now, settled = keys[1], now_ms(args[1]), cmsgpack.unpack(args[2])
  local key, is_early, is_sent, parked_with = shop .. settled.owner, false, false, nil
  if settled.token then
    local current = claim_of(key, settled.field, settled.send)
    if current and string.match(current.line, '^%S+ %S+ (%S+)') ~= settled.token then return '0' end
    is_early = settled.feedback and index_send(shop, settled, entry_of(settled), now)
    is_sent = is_early and UNSETTLED[settled.list]
    if is_sent then
      -- The ESP was faster than we: the mail has left.
      settled.claim, settled.list, settled.next, settled.uncount = to_sent(settled.claim), 'sent', nil, nil
      if settled.outcome then settled.outcome = as_sent(settled.outcome, 'reported_by_esp') end
    end
    -- A record that expired meanwhile stays away.
    if redis.call('EXISTS', key) == 1 then
      write_claim(key, settled.field, settled.send, settled.claim ~= '' and settled.claim or nil, settled.keep)
      bump(key)
      if string.match(settled.claim, '^sent ') or string.match(settled.claim, '^fallback_sent ') then
        -- The person may have become somebody else's id while the mail was on its way.
        local id = string.match(settled.owner, '^p:(.+)$')
        redis.call('HSET', id and person_key(shop, root_of(shop, id)) or key, 'ls', ms(now))
      end
    end
  end
  if settled.revision and (redis.call('HGET', key, 'rev') or '0') ~= settled.revision then return '0' end
  if settled.park then
    local is_order = string.match(settled.timer, '|o:')
    local person = string.match(settled.owner, '^p:(.+)$')
    if is_order and not park_order(shop, settled.timer, person, settled.park[2]) then return '0' end
    redis.call('HSET', key, settled.park[1], settled.park[2], 'parked', '1')
    -- The person may have expired, where only an order is known.
    if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ms(PERSON_TTL)) end
  end
  local state = settled.list
  if settled.timer then
    local present = present_name(shop, settled.timer)
    if present ~= settled.timer then
      remove_timer(shop, settled.timer)
      settled.timer = present
    end
    parked_with = settle_timer(shop, settled.timer, settled, state == 'dead' or state == 'unknown' or state == 'rejected')
  end
  if state then list_for_operator(shop, entry_of(settled), state, now) end
  if settled.uncount then uncount(shop, settled.uncount[1], settled.send, settled.uncount[2]) end
  if settled.note then
    note(shop, settled.note[1], settled.note[2], settled.note[3])
    -- Whose trail says that it waits for an address is told its end, too: somebody else who told the order had one.
    parked_with = parked_with and root_of(shop, parked_with)
    if parked_with and parked_with ~= settled.note[1] then note(shop, parked_with, settled.note[2], settled.note[3]) end
  end
  if settled.outcome then emit(shop, settled.outcome) end
  if is_early then
    note_early(shop, settled, is_sent)
    emit_early(shop, settled)
  end
  return '1'
end)

redis.register_function('fg_replay', function(keys, args)
  local shop, now, replay = keys[1], now_ms(args[1]), cmsgpack.unpack(args[2])
  local key = shop .. replay.owner
  local entry = replay.owner .. ' ' .. replay.timer .. ' ' .. replay.field .. ' ' .. replay.send
  local current = claim_of(key, replay.field, replay.send)
  -- A send that was given up without a claim has only its entry in the list.
  local state = current and current.state or (replay.expected == 'dead' and 'dead' or 'gone')
  list_for_operator(shop, entry, state, now)
  if state ~= replay.expected then return state end
  write_claim(key, replay.field, replay.send, replay.claim, 20)
  bump(key)
  list_for_operator(shop, entry, 'replay', now)
  set_timer(shop, present_name(shop, replay.timer), now, 'LT')
  return '1'
end)

redis.register_function('fg_close', function(keys, args)
  return redis.call('ZREM', keys[1] .. 'list:' .. args[1], args[2])
end)

redis.register_function('fg_suppress', function(keys, args)
  local shop, change = keys[1], cmsgpack.unpack(args[2])
  if not set_address_register(shop, change.address, change.field, change.stamp, change.value) then return 0 end
  local holder = last_holder(shop, change.address)
  local person = holder and root_of(shop, holder) or ''
  if holder then note(shop, person, '', change.note) end
  if change.outcome then
    change.outcome.fields[PERSON] = person
    emit(shop, change.outcome)
  end
  return 1
end)

redis.register_function('fg_crash', function(keys, args)
  return redis.call('HINCRBY', keys[1] .. 'begun', args[1], 1)
end)
