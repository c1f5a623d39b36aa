-- identity: which ids are one person.
-- A link is one write in the record of the linked id, can be taken back, and does not depend on what arrived first.
-- Fields of a record, with those of members.lua:
-- "L:<id>"  stamp of the first event by which a server linked this id to that one
-- "P:<id>"  stamp of the first event by which a page claimed so
-- "cut"     from this on nobody knows whose id it is, since it met a second person; compared with stamps
-- "unproven"  a page claims that the device is somebody's whom a server knows; no server confirms it
-- "srv"     a server knows this id                            "claimed"  devices that a page claims for this id
-- "met"     of a root: devices that met it as their second person

-- From now on `id` and its members belong to the person `root`.
local function attach(shop, id, root, at, now)
  local key, target = person_key(shop, id), person_key(shop, root)
  local own = redis.call('HMGET', key, 'ids', 'asked', 'ls', 'sup', 'met', 'claimed', 'rev')
  local theirs = redis.call('HMGET', target, 'ids', 'asked', 'ls', 'sup', 'met', 'claimed')
  local ids = list_of(theirs[1])
  local newcomers = list_of(own[1])
  for _, member in ipairs(newcomers) do
    redis.call('HSET', person_key(shop, member), 'to', root)
    ids[#ids + 1] = member
  end
  newcomers[#newcomers + 1] = id
  ids = without(ids, id)
  ids[#ids + 1] = id
  redis.call('HSET', key, 'to', root)
  redis.call('HDEL', key, 'ids', 'met', 'claimed', 'ls', 'idle')
  ids = without(ids, root)
  -- Those used longest ago count no more, until they are used again.
  while #ids > MAX_MEMBERS do retire(shop, table.remove(ids, 1), root) end
  set_list(target, 'ids', ids, MAX_MEMBERS)
  for i, field in ipairs({ 'met', 'claimed' }) do
    local list = list_of(theirs[4 + i])
    for _, other in ipairs(list_of(own[4 + i])) do list[#list + 1] = other end
    set_list(target, field, list, MAX_CLAIMED)
  end
  redis.call('HDEL', key, 'x')
  redis.call('PEXPIRE', key, ms(PERSON_TTL))
  redis.call('PEXPIRE', key .. ':ev', ms(PERSON_TTL))
  bump(target)
  move_timers(shop, id, root)
  local left = math.max(tonumber(own[3] or '0'), tonumber(theirs[3] or '0'))
  if left > 0 then
    redis.call('HSET', target, 'ls', ms(left))
    look_back(shop, 'p', root, now)
  end
  -- Whoever asked to be erased under one id is erased under all of them.
  local del = math.max(tonumber(own[2] or '0'), tonumber(theirs[2] or '0'))
  if del > 0 then while not erase(shop, root, del) do end end
  if own[4] or theirs[4] then
    redis.call('HSET', target, 'sup', '1')
    -- What the others refused holds for their addresses already.
    if have_refusals(shop, newcomers) then suppress_address(shop, root) end
  end
  if redis.call('HEXISTS', target, 'parked') == 1 then
    local members = members_of(shop, root)
    members[#members + 1] = root
    for _, member in ipairs(members) do
      local known = redis.call('HMGET', person_key(shop, member), 'A:email', 'A:typed_email', 'A:id', 'A:said_email')
      if known[1] or known[2] or known[3] or known[4] then
        release_parked(shop, root, at, now)
        break
      end
    end
  end
end

-- Which ids `id` was linked to, by servers and by pages, with the stamp of each.
local function links_of(shop, id)
  local linked, claimed = {}, {}
  for field, value in pairs(hash(person_key(shop, id))) do
    local kind, other = string.match(field, '^([LP]):(.+)$')
    if kind == 'L' then linked[other] = value end
    if kind == 'P' then claimed[other] = value end
  end
  return linked, claimed
end

-- `id` is not one of the root's any more, and neither are the ids that were only through it. Returns those ids.
local function detach(shop, id, root)
  local rest, left = members_of(shop, root), { [id] = true }
  local others, is_complete = {}, false
  while not is_complete do
    is_complete = true
    for _, member in ipairs(rest) do
      if not left[member] then
        local linked, claimed = links_of(shop, member)
        for other in pairs(left) do
          if linked[other] or claimed[other] then
            left[member], is_complete = true, false
            others[#others + 1] = member
            break
          end
        end
      end
    end
  end
  local kept = {}
  for _, member in ipairs(rest) do
    if left[member] then redis.call('HDEL', person_key(shop, member), 'to') else kept[#kept + 1] = member end
  end
  redis.call('HDEL', person_key(shop, id), 'to')
  bump(person_key(shop, id))
  set_list(person_key(shop, root), 'ids', kept, MAX_MEMBERS)
  bump(person_key(shop, root))
  return others
end

-- Whose device `id` is, by everything that is known: the person whom it met first, and only up to the moment at which it
-- met a second one. A page's word counts while no server knows the person.
local function evaluate(shop, id, at, now)
  local key = person_key(shop, id)
  local linked, claimed = links_of(shop, id)
  local unproven, is_linked = false, next(linked) ~= nil
  if not is_linked then
    for other in pairs(claimed) do
      if redis.call('HEXISTS', person_key(shop, other), 'srv') == 1 then unproven = true end
    end
  end
  local first, first_stamp
  local met = {}
  local function meet(others)
    for other, stamp in pairs(others) do
      local root = root_of(shop, other)
      if root ~= id and (not met[root] or stamp < met[root]) then met[root] = stamp end
    end
  end
  meet(linked)
  if not is_linked and not unproven then meet(claimed) end
  for root, stamp in pairs(met) do
    if not first or stamp < first_stamp or (stamp == first_stamp and root < first) then first, first_stamp = root, stamp end
  end
  -- Whose device it is, a page has no say about once a server has told; that it has another user, it may say.
  if is_linked then meet(claimed) end
  local cut
  for root, stamp in pairs(met) do
    if root ~= first then
      -- What was told at that very millisecond is nobody's, too.
      local met_at = string.sub(stamp, 1, STAMP_TIME)
      if not cut or met_at < cut then cut = met_at end
      local others = list_of(redis.call('HGET', person_key(shop, root), 'met'))
      set_list(person_key(shop, root), 'met', without(others, id), MAX_CLAIMED)
      others = without(others, id)
      others[#others + 1] = id
      set_list(person_key(shop, root), 'met', others, MAX_CLAIMED)
    end
  end
  local was = redis.call('HMGET', key, 'to', 'cut', 'unproven')
  if cut then redis.call('HSET', key, 'cut', cut) elseif was[2] then redis.call('HDEL', key, 'cut') end
  if unproven then redis.call('HSET', key, 'unproven', '1') elseif was[3] then redis.call('HDEL', key, 'unproven') end
  local current = was[1] and root_of(shop, id) or nil
  local others = {}
  if current and current ~= first then
    others = detach(shop, id, current)
    copy_timers(shop, current, id)
  end
  if first and current ~= first then attach(shop, id, first, at, now) end
  for _, other in ipairs(others) do evaluate(shop, other, at, now) end
  if cut ~= (was[2] or nil) or unproven ~= (was[3] and true or false) then
    bump(person_key(shop, first or id))
  end
  if unproven then return 'unproven' end
  return cut and 'ambiguous' or 'linked'
end

-- A server's link of an id of which nothing is known: nothing changes but that it is one of the person's. Returns the
-- root's `ids` with it, for the caller to write; nil where there is more to do. `ids` and `asked` are the root's fields.
local function link_new(shop, linked, other, root, stamp, ids, asked)
  local key = person_key(shop, linked)
  ids = ids and ids .. ' ' .. linked or linked
  local _, before = string.gsub(ids, ' ', '')
  if asked or before >= MAX_MEMBERS then return nil end
  redis.call('HSET', key, 'L:' .. other, stamp, 'to', root, 'rev', '1')
  redis.call('PEXPIRE', key, text_of_ttl(PERSON_TTL))
  return ids
end

-- The id `linked` was told as one of the person `other`. REPLY linked | merged |
-- ambiguous | unproven; and whether more is known of the person than before.
local function link(shop, linked, other, stamp, is_claim, at, now)
  local key = person_key(shop, linked)
  if not is_claim and redis.call('EXISTS', key) == 0 then
    local owner = root_of(shop, other)
    local known = redis.call('HMGET', person_key(shop, owner), 'ids', 'asked')
    local ids = link_new(shop, linked, other, owner, stamp, known[1], known[2])
    if ids then
      redis.call('HSET', person_key(shop, owner), 'ids', ids)
      return 'linked', false
    end
  end
  local field = (is_claim and 'P:' or 'L:') .. other
  local state = redis.call('HMGET', key, field, 'to', 'rev')
  if state[1] and state[1] <= stamp then
    return redis.call('HEXISTS', key, 'cut') == 1 and 'ambiguous' or 'linked', false
  end
  if not state[1] then
    local count = 0
    for _, known in ipairs(redis.call('HKEYS', key)) do
      if string.match(known, '^[LP]:') then count = count + 1 end
    end
    -- It met so many that it is nobody's already.
    if count >= 16 then return 'ambiguous', false end
  end
  redis.call('HSET', key, field, stamp)
  if not state[3] then bump(key) end
  if is_claim then
    if redis.call('HEXISTS', person_key(shop, other), 'srv') == 0 then
      local owner = person_key(shop, root_of(shop, other))
      local devices = without(list_of(redis.call('HGET', owner, 'claimed')), linked)
      devices[#devices + 1] = linked
      set_list(owner, 'claimed', devices, MAX_CLAIMED)
      if redis.call('PTTL', owner) < 0 then redis.call('PEXPIRE', owner, ms(PERSON_TTL)) end
    end
  end
  local result = evaluate(shop, linked, at, now)
  -- Ids that met both of these met one person.
  local root = root_of(shop, linked)
  for _, id in ipairs(list_of(redis.call('HGET', person_key(shop, root), 'met'))) do evaluate(shop, id, at, now) end
  return result == 'linked' and state[3] and not state[2] and 'merged' or result, true
end

-- A server knows this id: what pages alone claimed about it no longer counts. Returns whether that changed the record.
local function know(shop, id, at, now)
  local key = person_key(shop, id)
  if redis.call('HSETNX', key, 'srv', '1') == 0 then return false end
  -- A new record: what is recorded now gives it a life.
  if redis.call('HLEN', key) == 1 then return false end
  if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ms(PERSON_TTL)) end
  local devices = list_of(redis.call('HGET', person_key(shop, root_of(shop, id)), 'claimed'))
  for _, device in ipairs(devices) do evaluate(shop, device, at, now) end
  return true
end
