-- purchases: the first telling of an order, by occurrence, is the purchase.
-- once:<order>  its stamp, for 400 d
-- "O"  of a person: the newest purchases, "<stamp> <order>\t<JSON of the products>" each

local MAX_PURCHASES, MAX_PURCHASES_BYTES = 50, 16384
local PURCHASE_TTL = 400 * DAY

-- The purchase's stamp is that of the first telling, by occurrence: what is told of it later is no new purchase.
-- Returns it, and what it was taken for until now, if an earlier telling arrives after a later one.
local function first_telling(shop, id, stamp)
  local key = shop .. 'once:' .. id
  local known = redis.call('SET', key, stamp, 'NX', 'GET', 'PX', ms(PURCHASE_TTL))
  if not known then return stamp end
  if known <= stamp then return known end
  redis.call('SET', key, stamp, 'PX', ms(PURCHASE_TTL))
  return stamp, known
end

-- Adds a purchase to the newest ones, "<stamp> <order>\t<JSON>" each. Returns whether it was not among them.
local function remember_purchase(current, order, stamp, bought, writes)
  local lines, is_new = { stamp .. ' ' .. order .. '\t' .. bought }, true
  if not current then
    add(writes, 'O', lines[1])
    return true
  end
  for line in string.gmatch(current, '[^\n]+') do
    if string.match(line, '^%S+ (%S+)') == order then
      -- The first stamp, and the longest list of what was bought.
      local known = string.match(line, '^%S+')
      is_new = false
      if known < stamp then stamp = known end
      local products = string.match(line, '\t(.*)$')
      local is_longer = #products > #bought or (#products == #bought and products > bought)
      if products ~= '[]' and (bought == '[]' or is_longer) then bought = products end
      lines[1] = stamp .. ' ' .. order .. '\t' .. bought
    else
      lines[#lines + 1] = line
    end
  end
  table.sort(lines, function(a, b) return a > b end)
  local kept, size = {}, 0
  for i, line in ipairs(lines) do
    size = size + #line
    if i == 1 or (i <= MAX_PURCHASES and size <= MAX_PURCHASES_BYTES) then kept[#kept + 1] = line end
  end
  local text = table.concat(kept, '\n')
  if text ~= current then add(writes, 'O', text) end
  return is_new
end

-- An order turns out to be older than whoever told it so far knew: they and their addresses learn of its time.
local function correct_purchase(shop, order, wrong, first)
  local record = hash(order_key(shop, order))
  local addresses = { record['A:order'] }
  for field in pairs(record) do
    local id = string.match(field, '^w:(.+)$')
    local known = id and redis.call('HMGET', person_key(shop, id), 'O', 'A:email', 'A:typed_email', 'A:id', 'A:said_email') or {}
    local writes = {}
    if known[1] then remember_purchase(known[1], order, first, '[]', writes) end
    if #writes > 0 then
      redis.call('HSET', person_key(shop, id), unpack(writes))
      bump(person_key(shop, root_of(shop, id)))
    end
    for j = 2, 5 do
      if known[j] then addresses[#addresses + 1] = known[j] end
    end
  end
  for _, address in pairs(addresses) do
    local key = address and address_key(shop, string.sub(address, STAMP + 1))
    local ordered = key and redis.call('HGET', key, 'm:order')
    if ordered and string.sub(ordered, 1, STAMP) == wrong then
      redis.call('HSET', key, 'm:order', first .. string.sub(ordered, STAMP + 1))
      bump(key)
    end
  end
end

local function purchase_stamp(shop, event)
  local first, wrong = first_telling(shop, event.order[1], event.bought[2])
  if wrong then correct_purchase(shop, event.order[1], wrong, first) end
  return first
end
