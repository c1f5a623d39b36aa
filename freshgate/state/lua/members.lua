-- members: the ids of a person, and what they share: opt-outs, and sends that wait for an address.
-- What an id was told stays in the record of that id, p:<id>. A person is the root's record and those of its members;
-- readers fold them (freshgate/state/fold.py). Fields of a record:
-- "to"      id of the root, if that is another id            "ids"  of a root: its members, "<id> <id> …", newest last
-- "idle"    one of too many: it is none of the root's members until it is used again

local MAX_MEMBERS = 200
local MAX_CLAIMED = 50

-- The id of the person that this id belongs to.
local function root_of(shop, id)
  for _ = 1, 16 do
    local to = redis.call('HGET', person_key(shop, id), 'to')
    if not to then return id end
    id = to
  end
  return id
end

-- The id that had the address last; nothing where nobody did.
local function last_holder(shop, address)
  local last, newest = nil, nil
  for field, stamp in pairs(hash(address_key(shop, address))) do
    if string.sub(field, 1, 2) == 'h:' and newer(newest, stamp) then last, newest = string.sub(field, 3), stamp end
  end
  return last
end

local function without(ids, id)
  local rest = {}
  for _, other in ipairs(ids) do
    if other ~= id then rest[#rest + 1] = other end
  end
  return rest
end

local function members_of(shop, root)
  return list_of(redis.call('HGET', person_key(shop, root), 'ids'))
end

local function set_list(key, field, ids, most)
  while #ids > most do table.remove(ids, 1) end
  if #ids == 0 then redis.call('HDEL', key, field) else redis.call('HSET', key, field, table.concat(ids, ' ')) end
end

-- An address has come: parked sends are due again. A waiting one takes the address as activity (delay > 0).
-- The field `parked` says that there are some, so that nobody else reads the whole record for nothing.
local function release_parked(shop, root, at, now)
  local key, changes = person_key(shop, root), {}
  for field, value in pairs(hash(key)) do
    local timer = string.match(field, '^k:(.+)$')
    if timer then
      local delay, settle = string.match(value, '^(%d+) (%d+)$')
      local due = math.max(at + tonumber(delay), now + tonumber(settle))
      redis.call('HDEL', key, field)
      if tonumber(delay) > 0 then redis.call('HSET', key, 'b:' .. scope_of(timer), ms(at)) end
      -- It was put off until it would be too old: now it is due earlier than that.
      set_timer(shop, timer, due, 'CH')
      changes[#changes + 1] = scope_of(timer) .. ' released ' .. ms(due - at)
    end
  end
  redis.call('HDEL', key, 'parked')
  return changes
end

local REFUSAL_FIELDS = { 'm:unsubscribed', 'm:bounced', 'm:spam', 'm:subscribed', 'A:email', 'A:typed_email', 'A:id', 'A:said_email', 'cut' }

-- Whether it is an opt-in that a user's device told alone: whoever uses it by now does not speak for the user.
local function is_lent(id, root, i) return i == 4 and is_device(id) and not is_device(root) end

-- One of too many: the root keeps what it refused.
local function retire(shop, id, root)
  local key, target = person_key(shop, id), person_key(shop, root)
  local state = redis.call('HMGET', key, unpack(REFUSAL_FIELDS))
  for i = 1, 4 do
    local field = REFUSAL_FIELDS[i]
    if state[i] and not is_lent(id, root, i) and not (state[9] and state[i] >= state[9])
        and newer(redis.call('HGET', target, field), string.sub(state[i], 1, STAMP)) then
      redis.call('HSET', target, field, state[i])
    end
  end
  redis.call('HSET', key, 'idle', '1')
end

-- Whether one of these ids refused anything, or has an address.
local function have_refusals(shop, ids)
  for _, id in ipairs(ids) do
    local state = redis.call('HMGET', person_key(shop, id), unpack(REFUSAL_FIELDS, 1, 8))
    for i = 1, 8 do
      if state[i] then return true end
    end
  end
  return false
end

-- What a person refused without naming an address holds for the address that the person has by now, in whatever order
-- the two arrived, and for every person with that address. So does a user's later opt-in.
local function suppress_address(shop, root)
  local newest, guests = {}, nil
  local ids = members_of(shop, root)
  ids[#ids + 1] = root
  for _, id in ipairs(ids) do
    local state = redis.call('HMGET', person_key(shop, id), unpack(REFUSAL_FIELDS))
    for i = 1, 8 do
      -- What a device was told after it met somebody else is nobody's.
      if state[i] and not (i == 4 and is_device(id)) and not (state[9] and state[i] >= state[9]) then
        local stamp = string.sub(state[i], 1, STAMP)
        if i == 5 and is_device(id) then
          if newer(guests, stamp) then guests = state[i] end
        elseif newer(newest[i], stamp) then
          newest[i] = state[i]
        end
      end
    end
  end
  -- In the order in which a mail takes them (PersonView.email). What a device alone told may be a guest's.
  local address = newest[5] or not newest[7] and guests or newest[6] or newest[7] or newest[8]
  if not address then return end
  local key = address_key(shop, string.sub(address, STAMP + 1))
  for i, field in ipairs({ 'm:unsubscribed', 'm:bounced', 'm:spam', 'm:subscribed' }) do
    if newest[i] and newer(redis.call('HGET', key, field), string.sub(newest[i], 1, STAMP)) then
      redis.call('HSET', key, field, newest[i], 'x', 'forever')
      redis.call('HINCRBY', key, 'rev', 1)
      redis.call('PERSIST', key)
    end
  end
end
