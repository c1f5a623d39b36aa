-- moves: timers, parked sends and what a root remembers of them, when their person becomes another's id.

-- A timer's present name: that of an id which is somebody's by now goes on under the name of the root.
local function present_name(shop, timer)
  local trigger, id = string.match(timer, '^(.*)|p:(.+)$')
  return id and trigger .. '|p:' .. root_of(shop, id) or timer
end

-- Takes a timer away, whether it waits or is leased. Returns when it was due, if there was one.
local function remove_timer(shop, timer)
  local due = due_of(shop, timer)
  redis.call('ZREM', shop .. 'timers:' .. trigger_of(timer), timer)
  redis.call('ZREM', shop .. 'leases', timer)
  redis.call('HDEL', shop .. 'leased', timer)
  redis.call('HDEL', shop .. 'begun', timer)
  return due
end

-- Timers, parked sends and what a root remembers of them go on under the new root's name.
local function move_timers(shop, from, into)
  local key, target = person_key(shop, from), person_key(shop, into)
  for field, value in pairs(hash(key)) do
    local kind, name = string.match(field, '^([fbpk]):(.+)$')
    if kind == 'f' then
      local due = remove_timer(shop, name .. '|p:' .. from)
      if due then
        set_timer(shop, name .. '|p:' .. into, tonumber(due))
        redis.call('HSETNX', target, field, value)
      end
      redis.call('HDEL', key, field)
    elseif kind == 'b' or kind == 'p' then
      redis.call('HSETNX', target, field, value)
      redis.call('HDEL', key, field)
    elseif kind == 'k' then
      local trigger, subject = string.match(name, '^(.*)|p:(.*)$')
      redis.call('HSET', target, 'k:' .. (subject == from and trigger .. '|p:' .. into or name), value, 'parked', '1')
      redis.call('HDEL', key, field)
    end
  end
  redis.call('HDEL', key, 'parked')
end

-- The timers of the root run for `into` as well: which of the two a waiting mail belongs to, the gate decides.
local function copy_timers(shop, root, into)
  local target = person_key(shop, into)
  for field, value in pairs(hash(person_key(shop, root))) do
    local kind, name = string.match(field, '^([fk]):(.+)$')
    if kind == 'f' then
      local due = due_of(shop, name .. '|p:' .. root)
      if due then
        set_timer(shop, name .. '|p:' .. into, tonumber(due))
        redis.call('HSETNX', target, field, value)
      end
    elseif kind == 'k' then
      local trigger = string.match(name, '^(.*)|p:')
      redis.call('HSET', target, 'k:' .. (trigger and trigger .. '|p:' .. into or name), value, 'parked', '1')
    end
  end
end
