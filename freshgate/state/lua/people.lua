-- people: everything that the People API shows of a person, in one call.
-- fg_person  KEYS[1] the shop
--            ARGV now or "", version that the caller has or "", id of an address or "", ids of persons
--            The first id that is known decides; an address stands for whoever had it last.
--            REPLY {} = nobody is known by these ids
--                  {now, root, version} = the caller's version is the present one
--                  {now, root, version, {{id, record}, ...}, {{id, record}, ...} of addresses, {trail entry, ...}}
-- fg_recent  KEYS[1] the shop  ARGV as fg_person, but for the version: most entries of each id
--            REPLY {} | {now, root, {trail entry, ...}}
-- Records are flat arrays {field, value, ...}. A version changes with each change of what is shown, and is not the same
-- after a restore from a copy either, in which revisions start again from older ones.

-- How many entries one call reads of the trails of all ids; of each id some, however many ids there are.
local MAX_TRAIL, MIN_TRAIL = 2000, 10

local function find_person(shop, args)
  local candidates = {}
  for i = 4, #args do candidates[#candidates + 1] = args[i] end
  if args[3] ~= '' then
    candidates[#candidates + 1] = last_holder(shop, args[3])
  end
  for _, id in ipairs(candidates) do
    local root = root_of(shop, id)
    if redis.call('EXISTS', person_key(shop, root)) == 1 then return root end
  end
end

local function ids_of(shop, root)
  local ids = members_of(shop, root)
  table.insert(ids, 1, root)
  return ids
end

-- The newest entries of the trails of these ids; `lists` are ":ev", events, and ":un", what nobody reads.
local function trail_of(shop, ids, lists, most)
  local entries = {}
  most = math.min(most, math.max(MIN_TRAIL, math.floor(MAX_TRAIL / (#ids * #lists))))
  for _, id in ipairs(ids) do
    for _, list in ipairs(lists) do
      for _, entry in ipairs(redis.call('LRANGE', person_key(shop, id) .. list, 0, most - 1)) do
        entries[#entries + 1] = entry
      end
    end
  end
  return entries
end

redis.register_function('fg_person', function(keys, args)
  local shop, now = keys[1], ms(now_ms(args[1]))
  local root = find_person(shop, args)
  if not root then return {} end
  local ids, records, wanted, version = ids_of(shop, root), {}, {}, {}
  for _, id in ipairs(ids) do
    local record = redis.call('HGETALL', person_key(shop, id))
    collect_addresses(record, wanted)
    records[#records + 1] = { id, record }
    local fields = to_map(record)
    version[#version + 1] = id .. '=' .. (fields.rev or '0') .. '@' .. (fields.rx or '')
  end
  local addresses = {}
  for address in pairs(wanted) do
    if #addresses < MAX_ADDRESSES then
      local record = redis.call('HGETALL', address_key(shop, address))
      addresses[#addresses + 1] = { address, record }
      version[#version + 1] = address .. '=' .. redis.sha1hex(table.concat(record, '\n'))
    end
  end
  table.sort(version)
  version = table.concat(version, ' ')
  if version == args[2] then return { now, root, version } end
  return { now, root, version, records, addresses, trail_of(shop, ids, { ':ev' }, TRAIL_ENTRIES) }
end)

redis.register_function('fg_recent', function(keys, args)
  local shop = keys[1]
  local root = find_person(shop, args)
  if not root then return {} end
  return { ms(now_ms(args[1])), root, trail_of(shop, ids_of(shop, root), { ':ev', ':un' }, tonumber(args[2])) }
end)
