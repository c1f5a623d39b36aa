-- erasure: everything of a person up to a moment, under all ids.
-- "del"     everything up to this ms is erased      "asked"  the same, where the person of this very id asked for it:
--           a device that was erased along with its user takes no later user along
-- What a person asked for holds at once, by "asked". Records are emptied one after the other, in calls of bounded work.

-- How many fields one call takes out, more or less; a record counts as ten more.
local ERASED_FIELDS = 600

-- Whoever has the address asked to be erased: what was told until then, under whatever id, is not mailed to it.
local function mark_erased(shop, id, del)
  local key = address_key(shop, id)
  if del <= tonumber(redis.call('HGET', key, 'del') or '0') then return end
  redis.call('HSET', key, 'del', ms(del))
  bump(key)
end

-- Who had the address, and what was ordered with it. Suppressions stay.
local function forget_address(shop, id, del)
  local key, gone = address_key(shop, id), {}
  for field, value in pairs(hash(key)) do
    if (field == 'm:order' or string.sub(field, 1, 2) == 'h:') and stamp_ms(value) <= del then gone[#gone + 1] = field end
  end
  if #gone == 0 then return end
  remove_all(key, gone)
  bump(key)
end

-- What is up to `del` (ms) is taken out of one record. Claims stay: they hold no data, and prevent a second mail.
local function erase_order(shop, id, del)
  local key = order_key(shop, id)
  local order = hash(key)
  local first, newest = order['F:order'], order['m:order']
  -- What says the same as the first telling has no text of its own.
  if newest and #newest == STAMP and first then redis.call('HSET', key, 'm:order', newest .. string.sub(first, STAMP + 1)) end
  for field, value in pairs(order) do
    local kind = string.sub(field, 1, 2)
    if (kind == 'm:' or kind == 'F:' or kind == 'A:' or kind == 'M:' or kind == 'w:') and stamp_ms(value) <= del then
      if kind == 'A:' then forget_address(shop, string.sub(value, STAMP + 1), del) end
      redis.call('HDEL', key, field)
    end
  end
  if redis.call('EXISTS', key) == 1 then bump(key) end
end

-- Refusals outlive the person: they hold no data, and only withhold.
local REFUSALS = { ['m:unsubscribed'] = true, ['m:bounced'] = true, ['m:spam'] = true, ['m:subscribed'] = true }

local function erase_record(shop, id, del)
  local key, gone, count = person_key(shop, id), {}, 0
  for field, value in pairs(hash(key)) do
    count = count + 1
    local kind = string.sub(field, 1, 2)
    if kind == 'A:' and stamp_ms(value) <= del then forget_address(shop, string.sub(value, STAMP + 1), del) end
    if field == 'A:email' then mark_erased(shop, string.sub(value, STAMP + 1), del) end
    if not REFUSALS[field] and (kind == 'm:' or kind == 's:' or kind == 't:' or kind == 'A:' or kind == 'M:' or field == 'cc'
        or string.sub(field, 1, 1) == '+' or string.sub(field, 1, 1) == '-') then
      if stamp_ms(value) <= del then gone[#gone + 1] = field end
    elseif kind == 'n:' then
      local kept = {}
      for _, change in ipairs(list_of(value)) do
        if stamp_ms(change) > del then kept[#kept + 1] = change end
      end
      if #kept == 0 then gone[#gone + 1] = field else redis.call('HSET', key, field, table.concat(kept, ' ')) end
    elseif field == 'O' then
      local kept = {}
      for line in string.gmatch(value, '[^\n]+') do
        if stamp_ms(line) > del then
          kept[#kept + 1] = line
        else
          erase_order(shop, string.match(line, '^%S+ (%S+)'), del)
        end
      end
      if #kept == 0 then redis.call('HDEL', key, field) else redis.call('HSET', key, field, table.concat(kept, '\n')) end
    end
  end
  gone[#gone + 1] = 'x'
  remove_all(key, gone)
  redis.call('HSET', key, 'del', ms(del))
  redis.call('DEL', key .. ':ev', key .. ':dec', key .. ':un')
  redis.call('PEXPIRE', key, ms(PERSON_TTL))
  return count
end

-- What was told of a device alone, whoever's it is.
local function erase_device(shop, id, root, del)
  if del <= tonumber(redis.call('HGET', person_key(shop, id), 'del') or '0') then return end
  erase_record(shop, id, del)
  bump(person_key(shop, root))
end

-- The newest erasure that the person of this id asked for.
local function ask(key, del)
  if del > tonumber(redis.call('HGET', key, 'asked') or '0') then redis.call('HSET', key, 'asked', ms(del)) end
end

-- Everything of the person up to `del` (ms) is erased, under all ids. Timers stay: the gate withholds what they were
-- for, and what was told since then starts mails as before. Returns whether that is all; else the same once more.
local function erase(shop, root, del)
  local ids, room = members_of(shop, root), ERASED_FIELDS
  ids[#ids + 1] = root
  ask(person_key(shop, root), del)
  bump(person_key(shop, root))
  for _, id in ipairs(ids) do
    if del > tonumber(redis.call('HGET', person_key(shop, id), 'del') or '0') then
      if room <= 0 then return false end
      room = room - 10 - erase_record(shop, id, del)
    end
  end
  return true
end

-- The person who has the address by now, under all ids, and what is known of the address itself.
local function erase_address(shop, id, del)
  local holder = last_holder(shop, id)
  if holder and not erase(shop, root_of(shop, holder), del) then return false end
  forget_address(shop, id, del)
  mark_erased(shop, id, del)
  return true
end
