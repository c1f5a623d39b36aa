-- read: everything that decisions about sends need, in one call.
-- fg_read  KEYS[1] the shop  ARGV now (ms) or "", then one timer a send: "<trigger>|p:<id>" or "<trigger>|o:<id>"
-- REPLY    the first sends alone, where all of them would be too much to read in one call; ask for the others once more
--          {now, "<when events were refused last> <since when they are>" (ms) or "", one array a send:
--            {its timer by its present name, its due or "", root of the person or "",
--             {{id, record}, ...} of the root and its members, record of the order, {{id, record}, ...} of addresses,
--             of a person's send {{id of the address, root, record}, ...} of other persons who had such an address}}
-- fg_find  KEYS[1] the shop  ARGV ids of persons  REPLY the root of each, "" where nothing is known
-- Records are flat arrays {field, value, ...}.

local MAX_ADDRESSES = 8
-- So much work is a call's, after which it reads no further send, in bytes: a field or value takes as long as 350 more of
-- them, and a look at an id for its address as 2,000. Ten of the largest carts, or a hundred of twenty lines. A send's own
-- records are read as large as they are.
local MAX_READ, ITEM, LOOK = 3000000, 350, 2000
-- Who of those that told an order has an address: so many of their ids are looked at beside the persons themselves. All
-- of three of the largest persons, or forty of each of sixteen.
local MAX_ADDRESS_LOOKS = 600
-- Of another person with the same address: the newest ids that are looked at for an order, beside the person's own.
local MAX_OTHER_MEMBERS = 20
local OTHERS_REFUSALS = { 'm:unsubscribed', 'm:bounced', 'm:spam', 'm:subscribed' }

-- The ids of addresses that the person's mails may go to, and of the mailboxes of aliases; which one it is, the reader
-- decides. Returns how much work the record was.
local function collect_addresses(flat, wanted, with_mailboxes)
  local work = #flat * ITEM
  for i = 1, #flat, 2 do
    work = work + #flat[i + 1]
    local kind = string.sub(flat[i], 1, 2)
    if kind == 'A:' or (kind == 'M:' and with_mailboxes) then wanted[string.sub(flat[i + 1], STAMP + 1)] = true end
  end
  return work
end

-- Whether a server gave this id an address that is its person's.
local function id_has_address(shop, id)
  local known = redis.call('HMGET', person_key(shop, id), 'A:email', 'A:id', 'cut')
  for i = 1, 2 do
    if known[i] and not (known[3] and known[i] >= known[3]) then return true end
  end
  return false
end

-- Whether the person has one: the root, or one of the newest `room` members. Returns how many more may be looked at, too.
local function has_address(shop, root, room)
  if id_has_address(shop, root) then return true, room end
  local ids = room > 0 and members_of(shop, root) or {}
  for i = #ids, math.max(1, #ids + 1 - room), -1 do
    if id_has_address(shop, ids[i]) then return true, room end
  end
  return false, math.max(0, room - #ids)
end

-- Who told that the order was completed and may have completed it, first of all first: {{id, stamp}, ...}; and whether it
-- has an address of its own. What a device told that was nobody's by then does not count. Who is named outweighs whose
-- device it was: a device of somebody who is not named was lent.
local function tellers_of(shop, flat)
  local all, named, is_addressed, tellers = {}, nil, false, {}
  for i = 1, #flat, 2 do
    local id, stamp = string.match(flat[i], '^w:(.+)$'), flat[i + 1]
    is_addressed = is_addressed or flat[i] == 'A:order'
    if id then
      local cut = redis.call('HGET', person_key(shop, id), 'cut')
      if not cut or stamp < cut then all[#all + 1] = { id, stamp, is_device(id) } end
    end
  end
  for _, teller in ipairs(#all > 1 and all or {}) do
    teller[4] = root_of(shop, teller[1])
    if not teller[3] then
      named = named or {}
      named[teller[4]] = true
    end
  end
  for _, teller in ipairs(all) do
    if not named or named[teller[4]] or is_device(teller[4]) then tellers[#tellers + 1] = teller end
  end
  table.sort(tellers, function(a, b)
    if not is_addressed and a[3] ~= b[3] then return b[3] end
    return a[2] < b[2] or (a[2] == b[2] and a[1] < b[1])
  end)
  return tellers, is_addressed
end

-- Who completed the order: whoever told it first. Of several who told an order without an address of its own, the first
-- who has one, users before devices: of two CDPs one may know the visitor only. Returns how many ids were looked at for that, too.
local function buyer_of(shop, flat)
  local tellers, is_addressed = tellers_of(shop, flat)
  local room, is_known = MAX_ADDRESS_LOOKS, false
  for _, teller in ipairs(not is_addressed and #tellers > 1 and tellers or {}) do
    is_known, room = has_address(shop, root_of(shop, teller[1]), room)
    if is_known then return teller[1], MAX_ADDRESS_LOOKS - room end
  end
  return tellers[1] and tellers[1][1], MAX_ADDRESS_LOOKS - room
end

-- No address is known of those who told the order: the send waits for one of any of them, as `value` says. False: one has
-- come, so that somebody else than `person` is the buyer.
local function park_order(shop, timer, person, value)
  local key = order_key(shop, string.match(timer, '|o:(.+)$'))
  local order = redis.call('HGETALL', key)
  local buyer = buyer_of(shop, order)
  if not buyer or root_of(shop, buyer) ~= person then return false end
  for _, teller in ipairs(tellers_of(shop, order)) do
    local root = root_of(shop, teller[1])
    if root ~= person then redis.call('HSET', person_key(shop, root), 'k:' .. timer, value, 'parked', '1') end
  end
  redis.call('HSET', key, 'k:' .. timer, person)
  return true
end

-- The send has ended: an address that comes later must not bring it back to anybody.
local function unpark_order(shop, timer)
  for _, field in ipairs(redis.call('HKEYS', order_key(shop, string.match(timer, '|o:(.+)$')))) do
    local id = string.match(field, '^w:(.+)$')
    if id then redis.call('HDEL', person_key(shop, root_of(shop, id)), 'k:' .. timer) end
  end
end

-- What the person did that withholds mails of others with the same address: of the ids the newest purchase, as the
-- register of an address has it, and what they refused without naming an address. What a device told that was nobody's by
-- then does not count, nor a purchase that was erased.
local function withholding_of(shop, root)
  local newest = {}
  local ids, asked = members_of(shop, root), tonumber(redis.call('HGET', person_key(shop, root), 'asked') or '0')
  while #ids > MAX_OTHER_MEMBERS do table.remove(ids, 1) end
  ids[#ids + 1] = root
  for _, id in ipairs(ids) do
    local state = redis.call('HMGET', person_key(shop, id), 'O', 'cut', 'del', 'm:order', unpack(OTHERS_REFUSALS))
    local del = math.max(asked, tonumber(state[3] or '0'))
    local function take(field, stamp, text)
      local counts = not (state[2] and stamp >= state[2]) and (field ~= 'm:order' or stamp_ms(stamp) > del)
      if counts and newer(newest[field], stamp) then newest[field] = stamp .. text end
    end
    for line in string.gmatch(state[1] or '', '[^\n]+') do
      take('m:order', string.sub(line, 1, STAMP), string.match(line, '\t(.*)$') or '')
    end
    for i = 0, #OTHERS_REFUSALS do
      local field, value = OTHERS_REFUSALS[i] or 'm:order', state[4 + i]
      if value and not is_lent(id, root, i) then take(field, string.sub(value, 1, STAMP), string.sub(value, STAMP + 1)) end
    end
  end
  local flat = { 'rev', redis.call('HGET', person_key(shop, root), 'rev') or '0' }
  for field, value in pairs(newest) do add(flat, field, value) end
  return flat, #ids
end

-- Whether a device alone told the address, of whose user another one is known: then it is a guest's.
local function is_guests(shop, id, root, address)
  if not is_device(id) or is_device(root) then return false end
  local own = redis.call('HMGET', person_key(shop, root), 'A:email', 'A:id')
  local email, user_id = own[1] and string.sub(own[1], STAMP + 1), own[2] and string.sub(own[2], STAMP + 1)
  return (email or user_id) and email ~= address and user_id ~= address
end

-- The other persons who had the address, and what they did, perhaps in events without it.
local function others_with(shop, root, address, record, others, known)
  local looks = 0
  for i = 1, #record, 2 do
    local id = string.match(record[i], '^h:(.+)$')
    local other = id and root_of(shop, id)
    if other and other ~= root and not known[address .. other] and not is_guests(shop, id, other, address) then
      known[address .. other] = true
      local flat, ids = withholding_of(shop, other)
      looks = looks + ids
      others[#others + 1] = { address, other, flat }
    end
  end
  return looks
end

local function read_send(shop, timer)
  local trigger, kind, id = string.match(timer, '^(.*)|(%a):(.+)$')
  local order, person, wanted, work = {}, id, {}, ITEM
  if kind == 'o' then
    order = redis.call('HGETALL', order_key(shop, id))
    local looks
    person, looks = buyer_of(shop, order)
    work = work + collect_addresses(order, wanted, true) + looks * LOOK
  end
  local root = person and root_of(shop, person) or ''
  if kind == 'p' and root ~= id then
    -- A job or a lease from before the two ids met.
    local due = remove_timer(shop, timer)
    timer = trigger .. '|p:' .. root
    if due then set_timer(shop, timer, tonumber(due)) end
  end
  local records = {}
  if root ~= '' then
    local ids = members_of(shop, root)
    table.insert(ids, 1, root)
    for _, member in ipairs(ids) do
      local record = redis.call('HGETALL', person_key(shop, member))
      work = work + collect_addresses(record, wanted, true)
      records[#records + 1] = { member, record }
    end
  end
  local addresses, others, known = {}, {}, {}
  for address in pairs(wanted) do
    if #addresses < MAX_ADDRESSES then
      local record = redis.call('HGETALL', address_key(shop, address))
      addresses[#addresses + 1] = { address, record }
      if kind == 'p' then work = work + LOOK * others_with(shop, root, address, record, others, known) end
    end
  end
  return { timer, due_of(shop, timer) or '', root, records, order, addresses, others }, work
end

redis.register_function('fg_read', function(keys, args)
  local shop = keys[1]
  local reply = { ms(now_ms(args[1])), redis.call('GET', shop .. 'gap') or '' }
  local work, i = 0, 2
  while i <= #args and work < MAX_READ do
    local more
    reply[i + 1], more = read_send(shop, args[i])
    work, i = work + more, i + 1
  end
  return reply
end)

redis.register_function('fg_find', function(keys, args)
  local roots = {}
  for i, id in ipairs(args) do
    local root = root_of(keys[1], id)
    roots[i] = redis.call('EXISTS', person_key(keys[1], root)) == 1 and root or ''
  end
  return roots
end)
