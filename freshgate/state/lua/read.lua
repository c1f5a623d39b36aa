-- read: everything that decisions about sends need, in one call.
-- fg_read  KEYS[1] the shop  ARGV now (ms) or "", then one timer a send: "<trigger>|p:<id>" or "<trigger>|o:<id>"
-- REPLY    {now, "<when events were refused last> <since when they are>" (ms) or "", one array a send:
--            {its timer by its present name, its due or "", root of the person or "",
--             {{id, record}, ...} of the root and its members, record of the order, {{id, record}, ...} of addresses}}
-- fg_find  KEYS[1] the shop  ARGV ids of persons  REPLY the root of each, "" where nothing is known
-- Records are flat arrays {field, value, ...}.

local MAX_ADDRESSES = 8

-- The address ids that the person's mails may go to; which one it is, the reader decides.
local function collect_addresses(flat, wanted)
  for i = 1, #flat, 2 do
    if string.sub(flat[i], 1, 2) == 'A:' then wanted[string.sub(flat[i + 1], STAMP + 1)] = true end
  end
end

-- Who completed the order: whoever told it first. What a device told that was nobody's by then does not count.
local function buyer_of(shop, flat)
  local buyer, first
  for i = 1, #flat, 2 do
    local id, stamp = string.match(flat[i], '^w:(.+)$'), flat[i + 1]
    if id and (not first or stamp < first) then
      local cut = redis.call('HGET', person_key(shop, id), 'cut')
      if not cut or stamp < cut then buyer, first = id, stamp end
    end
  end
  return buyer
end

local function read_send(shop, timer)
  local trigger, kind, id = string.match(timer, '^(.*)|(%a):(.+)$')
  local order, person, wanted = {}, id, {}
  if kind == 'o' then
    order = redis.call('HGETALL', order_key(shop, id))
    collect_addresses(order, wanted)
    person = buyer_of(shop, order)
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
      collect_addresses(record, wanted)
      records[#records + 1] = { member, record }
    end
  end
  local addresses = {}
  for address in pairs(wanted) do
    if #addresses < MAX_ADDRESSES then
      addresses[#addresses + 1] = { address, redis.call('HGETALL', address_key(shop, address)) }
    end
  end
  return { timer, due_of(shop, timer) or '', root, records, order, addresses }
end

redis.register_function('fg_read', function(keys, args)
  local shop = keys[1]
  local reply = { ms(now_ms(args[1])), redis.call('GET', shop .. 'gap') or '' }
  for i = 2, #args do reply[#reply + 1] = read_send(shop, args[i]) end
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
