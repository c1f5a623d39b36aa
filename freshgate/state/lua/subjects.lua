-- subjects: values of an event's fields that mails are about, such as one product. A record has one register for each mark
-- and subject, s:<mark>#<key>, and keeps the newest MAX_SUBJECTS of each mark, whatever order they came in. What is left
-- out starts nothing, and a mail that waits about it is taken back; the event that displaced it says so on the trail.

local MAX_SUBJECTS = 50

-- The fields of the record that begin so.
local function fields_of(key, head)
  local fields = {}
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, #head) == head then fields[#fields + 1] = field end
  end
  return fields
end

-- Whether an id of the person tells of it.
local function is_known(shop, root, field)
  local ids = members_of(shop, root)
  ids[#ids + 1] = root
  for _, member in ipairs(ids) do
    if redis.call('HEXISTS', person_key(shop, member), field) == 1 then return true end
  end
  return false
end

local function drop_subject(shop, event, root, field, bound, said)
  redis.call('HDEL', person_key(shop, event.id), field)
  if is_known(shop, root, field) then return end
  for i = 2, #bound do
    local scope = bound[i] .. string.match(field, '#.*$')
    local timer = scope .. '|p:' .. root
    local due = remove_timer(shop, timer)
    redis.call('HDEL', person_key(shop, root), 'f:' .. scope, 'b:' .. scope, 'p:' .. scope, 'k:' .. timer)
    if due then said[#said + 1] = scope .. ' displaced ' .. ms(due - event.at) end
  end
end

-- Of the event's registers, which are written by now, some are new subjects: the oldest of too many go. `bound` is how
-- the fields of the mark begin, then the triggers whose timers are about it; state[after + i] what register i was before.
local function bound_subjects(shop, event, root, bound, state, after, changed, said)
  local is_new = false
  for i = 1, event.values do
    local is_of_mark = string.sub(event.list[i], 1, #bound[1]) == bound[1]
    is_new = is_new or (is_of_mark and not state[after + i])
  end
  if not is_new then return end
  local key = person_key(shop, event.id)
  local fields = fields_of(key, bound[1])
  if #fields <= MAX_SUBJECTS then return end
  local values = redis.call('HMGET', key, unpack(fields))
  local stamped = {}
  for i, field in ipairs(fields) do stamped[i] = string.sub(values[i], 1, STAMP) .. field end
  table.sort(stamped)
  for i = 1, #stamped - MAX_SUBJECTS do
    local field = string.sub(stamped[i], STAMP + 1)
    drop_subject(shop, event, root, field, bound, said)
    changed[field] = false
  end
end
