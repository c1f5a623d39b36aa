-- cart: lines whose quantities add and subtract, in whatever order the events arrive.
-- "+<line>"  register: the product as it was added last, JSON; before it "+2" where that is the line's only change
-- "-<line>"  register: the keys of a product that was removed last, JSON
-- "n:<line>" the changes of its quantity, "<stamp>+2 <stamp>-1 <stamp>x", oldest first: each event once; x removes all. Most
--            lines have one change, and none of this: the product's stamp is the change's as well
-- "cc"       stamp of the newest moment at which the cart was emptied; what is older no longer counts
-- "nl"       how many lines the hash has, with those that were removed and never added
-- "-?"       what was removed could not be read, or found no room: nobody knows what is left
-- freshgate/state/cart.py adds them up.

local MAX_LINES, MAX_REMOVED = 250, 500
local MAX_CHANGES = 60
-- An order that is known already empties the cart as of its first telling, so that lines are kept for so long.
local ORDER_SLACK = 2 * DAY

-- The newest of a line's changes, which is shorter than the part that is looked at first.
local function newest_change(changes)
  return string.match(string.sub(changes, -50), '.* (%S+)$') or string.match(changes, '.* (%S+)$') or changes
end

-- Lines that are older than `cleared` can never be in the cart again. Returns how many are left.
local function drop_lines(key, cleared)
  local all, gone, lines = hash(key), {}, 0
  for field, value in pairs(all) do
    local first = string.sub(field, 1, 1)
    if first == '+' or first == '-' then
      local line = string.sub(field, 2)
      local changes = all['n:' .. line]
      if value < cleared and (not changes or newest_change(changes) < cleared) then
        gone[#gone + 1] = field
        gone[#gone + 1] = 'n:' .. line
      elseif first == '+' or not all['+' .. line] then
        lines = lines + 1
      end
    end
  end
  remove_all(key, gone)
  redis.call('HSET', key, 'nl', lines)
  return lines
end

-- Keeps the newest changes one by one, and adds the older ones up.
local function compact(changes)
  if #changes < MAX_CHANGES * (STAMP + 2) then return changes end
  local entries = list_of(changes)
  if #entries <= MAX_CHANGES then return changes end
  local half, count = math.floor(MAX_CHANGES / 2), 0
  for i = 1, #entries - half do
    local change = string.sub(entries[i], STAMP + 1)
    count = change == 'x' and 0 or math.max(0, count + tonumber(change))
  end
  local last = string.sub(entries[#entries - half], 1, STAMP)
  local kept = { last .. '+' .. ms(count) }
  for i = #entries - half + 1, #entries do kept[#kept + 1] = entries[i] end
  return table.concat(kept, ' ')
end

-- The changes with one more of them, oldest first.
local function add_change(changes, change)
  if changes == '' then return change end
  if newest_change(changes) < change then return compact(changes .. ' ' .. change) end
  local entries = list_of(changes)
  entries[#entries + 1] = change
  table.sort(entries)
  return compact(table.concat(entries, ' '))
end

-- All changes of a line; '' for a line that nobody knows.
local function changes_of(added, changes)
  return changes or added and string.match(added, '^%w+%+%d+') or ''
end

-- Changes of the record's lines, as record.lua has them in the event's list. Of each stand in list[at …] "+<line>",
-- "n:<line>" and, if it is a removal, "-<line>"; and as they are now in current[head + at …]. `count` is how many lines the
-- cart has.
local function change_lines(key, event, current, head, count, cleared, writes)
  local list, created, at, first = event.list, 0, event.values + event.dues + 1, event.names + event.values + 1
  for i = first, first + event.lines - 1, 3 do
    local stamp, amount, text = list[i], list[i + 1], list[i + 2]
    local is_added = string.sub(amount, 1, 1) == '+'
    local changes, field, product = list[at + 1], list[at], current[head + at]
    local known = changes_of(product, current[head + at + 1])
    if not is_added then field, product = list[at + 2], current[head + at + 2] end
    at = at + (is_added and 2 or 3)
    local is_new_line = not product and (is_added or known == '')
    local has_room = not is_new_line or count + created < (is_added and MAX_LINES or MAX_REMOVED)
    if (not cleared or stamp >= cleared) and not has_room and not is_added then
      if newer(redis.call('HGET', key, '-?'), stamp) then add(writes, '-?', stamp .. '{}') end
    elseif (not cleared or stamp >= cleared) and has_room and not string.find(known, stamp, 1, true) then
      if is_added and known == '' then
        text = amount .. text
      else
        add(writes, changes, add_change(known, stamp .. amount))
      end
      if newer(product, stamp) then add(writes, field, stamp .. text) end
      if is_new_line then created = created + 1 end
    end
  end
  if created > 0 then add(writes, 'nl', ms(count + created)) end
end
