-- record: what one event writes, all of it or nothing.
-- fg_record  KEYS[1] the shop
-- ARGV[1]  now (ms), "" = Redis' clock       ARGV[2]  "1": events were refused since the last call, see `gap`
-- ARGV[3]  msgpack of the limits that the request must keep to, or "":
--          {{name, key, most, window (ms), cost, {member, ...}}, ...}
-- ARGV[4…] one msgpack map an event, flat where it can be (freshgate/state/wire.py). All but `at` and `stamp` may be missing:
--   id       the id that the event was told of; "" = of an address alone
--   at, stamp  occurred_at (ms), and the event's stamp       ttl    ms
--   trail    text of the trail entry
--   seen     remembered id of the message; nil = no dedupe   again  true = record past the dedupe
--   list     {name, ..., value, ..., stamp, change, JSON, ..., scope, kind, ...}: one list, since Redis takes as long to
--            make one as for what is in it. One after the other:
--   names    so many names of what is read of the id's record: its registers, "f:<scope>" of each start of a person's,
--            of each changed line "+<line>", "n:<line>" and for a removal "-<line>", "ids", "asked" and "claimed" if there are
--            links, and "O" if there is a purchase
--   values   so many registers: stamp and text                dues   how many names are "f:<scope>"
--   lines    so many parts of lines, three each: see cart.lua
--            the rest are starts: scope, "p" or "o", field of the mark, delay, settle; timers started if the mark is news
--   clear    stamp of a cart that was emptied
--   subjects {{how the fields of a mark begin, trigger, ...}, ...}: see subjects.lua
--   addr     true = this event brings an address             sup    true = an opt-out or opt-in without an address
--   del      erase everything up to this ms                  srv    true = a server says so
--   address  id of the address that `del` names in place of an id: whoever has it is erased
--   links    {id, the id that it belongs to, is a page's claim, ...}
--   trace    the event's trace, which its timers carry along
--   order    {id, ttl, how many, of them registers, name, ..., value, ...}: of the others the oldest stamp wins
--   bought   {order's id, stamp, JSON of the products}: a purchase
--   addresses  {id, ttl, how many, name, ..., value, ...; id, ...}
--   products   the same: what a server says of products, where pages tell of them too
-- On the trail, dues of timers are counted from the event's own time (ms).
-- REPLY    {now, one text an event: "<verdict> <root or -> <results of its links>"}: verdicts ok | dup | del | amb |
--          more = an erasure that takes the same event once more
--          or {now, "limited <name> <ms until it is over>"}; then nothing is written

-- RQ is the fast path, never the record: a send that its job did not bring about is taken from the timers after this.
local SAFETY_NET_MS = 20000
local MAX_TELLERS, MAX_HOLDERS = 16, 16

local TO, CUT, REV, DEL, REFRESHED, PARKED, LEFT, SUPPRESSED, RX, CLEARED, SERVER, IDLE, LINES = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
local HEAD, NONE = 13, {}
-- What holds for an address whoever told it: it only withholds.
local WITHHOLDING = { ['m:unsubscribed'] = true, ['m:bounced'] = true, ['m:spam'] = true, ['m:order'] = true }

-- The record as it is: its head, then the event's fields.
local function as_read(key, event)
  return redis.call('HMGET', key, 'to', 'cut', 'rev', 'del', 'x', 'parked', 'ls', 'sup', 'rx', 'cc', 'srv', 'idle', 'nl',
    unpack(event.list, 1, event.names))
end

-- Where the next address, or product, begins after the one at `i` of the list.
local function next_record(list, i) return i + 3 + 2 * list[i + 2] end

-- Where the event's first start stands in its list.
local function first_start(event) return event.names + event.values + event.lines + 1 end

-- The start at `i` of the event's list.
local function set_due(shop, event, i, id, now, said)
  local scope, kind, delay, settle = event.list[i], event.list[i + 1], event.list[i + 3], event.list[i + 4]
  local at = event.at
  local timer = scope .. '|' .. kind .. ':' .. id
  -- A clock that runs ahead never delays a mail beyond now + delay.
  local due = delay == 0 and now + SAFETY_NET_MS or math.max(math.min(at, now) + delay, now + settle)
  -- One that waits for an address, or for its next try, is decided on at once as well. A due of its own keeps the timer
  -- from whoever finishes what an older event started.
  set_timer(shop, timer, due, delay == 0 and 'CH' or 'GT')
  said[#said + 1] = scope .. ' set ' .. text_of_wait(due - at)
  return due, delay
end

-- The newest telling beside the first one: it adds what the first left out. Nothing where there is one telling only; no
-- text where both say the same.
local function newest_telling(known_first, known, first, telling)
  local newest = known and #known == STAMP and known .. string.sub(known_first or '', STAMP + 1) or known or known_first
  if not newest or newer(newest, string.sub(telling, 1, STAMP)) then newest = telling end
  local stamp, text = string.sub(newest, 1, STAMP), string.sub(newest, STAMP + 1)
  if stamp == string.sub(first, 1, STAMP) then return nil end
  return text == string.sub(first, STAMP + 1) and stamp or newest
end

-- Who told an order: the oldest, with the stamp of their first telling each.
local function drop_teller(key, teller, stamp)
  local count, last, last_stamp = 1, teller, stamp
  for field, value in pairs(hash(key)) do
    if string.sub(field, 1, 2) == 'w:' and field ~= teller then
      count = count + 1
      if value > last_stamp or (value == last_stamp and field > last) then last, last_stamp = field, value end
    end
  end
  if count > MAX_TELLERS then redis.call('HDEL', key, last) end
end

local function record_order(shop, event, order, first, now, said)
  local id, ttl, count, registers = order[1], order[2], order[3], order[4]
  local key, teller = order_key(shop, id), nil
  local state = redis.call('HMGET', key, 'x', 'rev', 'ls', 'm:order', unpack(order, 5, 4 + count))
  local writes = { 'rev', ms(tonumber(state[2] or '0') + 1) }
  news(order, 4, 4 + count, registers, state, 4, writes)
  for i = registers + 1, count do
    local field, telling, known = order[4 + i], order[4 + count + i], state[4 + i]
    local stamp, earliest = string.sub(telling, 1, STAMP), telling
    -- Of the purchase's time the first telling of all decides, also where its record has expired.
    if field == 'F:order' and first and first < stamp then
      stamp, earliest = first, first .. string.sub(telling, STAMP + 1)
    end
    local is_first = not known or stamp < string.sub(known, 1, STAMP)
    if is_first then add(writes, field, earliest) end
    if field == 'F:order' then
      local newest = newest_telling(known, state[4], is_first and earliest or known, telling)
      if newest and newest ~= state[4] then add(writes, 'm:order', newest) end
    elseif not known and string.sub(field, 1, 2) == 'w:' then
      teller = i
    end
  end
  for i = first_start(event), #event.list, 5 do
    -- An older telling, too, may bring what was missing.
    if event.list[i + 1] == 'o' then
      set_due(shop, event, i, id, now, said)
      if event.trace then add(writes, 'p:' .. event.list[i], event.trace) end
    end
  end
  local refresh = next_refresh(state[1], ttl, now)
  if refresh then add(writes, 'x', refresh) end
  redis.call('HSET', key, unpack(writes))
  if teller and state[2] then drop_teller(key, order[4 + teller], order[4 + count + teller]) end
  if refresh then keep_alive(key, ttl) end
  -- It occurred before a mail that has left: was that mail right?
  if state[3] and event.at <= tonumber(state[3]) then look_back(shop, 'o', id, now) end
end

-- Who had the address: the newest, with the stamp of their newest event each.
local function drop_holder(key)
  local count, oldest, stamp = 0, nil, nil
  for field, value in pairs(hash(key)) do
    if string.sub(field, 1, 2) == 'h:' then
      count = count + 1
      if not oldest or value < stamp or (value == stamp and field < oldest) then oldest, stamp = field, value end
    end
  end
  if count > MAX_HOLDERS then redis.call('HDEL', key, oldest) end
end

-- The address at `i` of the list.
local function record_address(shop, list, i, first, now)
  local key, ttl, count, writes = address_key(shop, list[i]), list[i + 1], list[i + 2], { nil, nil, nil, nil, nil, nil }
  local names, values = i + 2, i + 2 + count
  local state = redis.call('HMGET', key, 'x', 'rev', unpack(list, names + 1, names + count))
  for j = 1, first and count or 0 do
    local value = list[values + j]
    if list[names + j] == 'm:order' and first < value then list[values + j] = first .. string.sub(value, STAMP + 1) end
  end
  news(list, names, values, count, state, 2, writes)
  local refresh = next_refresh(state[1], ttl, now)
  if refresh then add(writes, 'x', refresh) end
  if #writes == 0 then return end
  add(writes, 'rev', ms(tonumber(state[2] or '0') + 1))
  redis.call('HSET', key, unpack(writes))
  for j = 1, state[2] and count or 0 do
    if not state[2 + j] and string.sub(list[names + j], 1, 2) == 'h:' then drop_holder(key) end
  end
  if refresh then keep_alive(key, ttl) end
end

-- Whether the event's register of that name was news to the record as it was read. `changed` knows better of some.
local function has_advanced(event, state, name, changed)
  if changed[name] ~= nil then return changed[name] end
  local list = event.list
  for i = 1, event.values do
    if list[i] == name then return newer(state[HEAD + i], string.sub(list[event.names + i], 1, STAMP)) end
  end
  return false
end

local ADDRESSES = { 'A:email', 'A:typed_email', 'A:said_email', 'A:id' }
local function has_new_address(event, state)
  for _, name in ipairs(ADDRESSES) do
    if has_advanced(event, state, name, NONE) then return true end
  end
  return false
end

-- Starts the person's timers whose marks have advanced.
local function start_timers(shop, event, root, target, state, changed, now, said)
  local list, first_due = event.list, HEAD + event.values
  for i = first_start(event), #list, 5 do
    if list[i + 1] == 'p' then
      first_due = first_due + 1
      if has_advanced(event, state, list[i + 2], changed) then
        local due, delay = set_due(shop, event, i, root, now, said)
        -- Usually there is one, in the record that was read; a member has none.
        if not state[first_due] then
          redis.call('HSETNX', target, 'f:' .. list[i], ms(delay > 0 and due or 0))
        end
        if event.trace then redis.call('HSET', target, 'p:' .. list[i], event.trace) end
      end
    end
  end
end

-- What the event says of the id that it was told of, and what that starts.
local function record_id(shop, event, key, state, root, first, now, said)
  local ttl = root == event.id and event.ttl or PERSON_TTL
  local writes, changed = {
    'rev', ms(tonumber(state[REV] or '0') + 1),
    'rx', state[RX] and tonumber(state[RX]) > now and state[RX] or text_of_now(now),
    nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil,
  }, NONE
  local cleared, count = state[CLEARED], tonumber(state[LINES] or '0')
  if event.clear and newer(cleared, event.clear) then
    cleared = event.clear
    add(writes, 'cc', cleared)
    if state[REV] then
      count = drop_lines(key, cleared)
      state = as_read(key, event)
    end
  end
  local refresh = next_refresh(state[REFRESHED], ttl, now)
  if refresh then add(writes, 'x', refresh) end
  if event.ids then add(writes, 'ids', event.ids) end
  news(event.list, 0, event.names, event.values, state, HEAD, writes)
  if event.lines > 0 then change_lines(key, event, state, HEAD, count, cleared, writes) end
  if event.bought then
    changed = { ['m:order'] = remember_purchase(state[#state] or nil, event.bought[1], first, event.bought[3], writes) }
    if state[LINES] then drop_lines(key, stamp_time(stamp_ms(first) - ORDER_SLACK)) end
  end
  if event.sup then add(writes, 'sup', '1') end
  if event.is_new then add(writes, 'srv', '1') end
  set_all(key, writes)
  local target = key
  if root ~= event.id then
    target = person_key(shop, root)
    bump(target)
    if event.sup then redis.call('HSET', target, 'sup', '1') end
  end
  if event.subjects then
    changed = changed == NONE and {} or changed
    for _, bound in ipairs(event.subjects) do bound_subjects(shop, event, root, bound, state, HEAD, changed, said) end
  end
  start_timers(shop, event, root, target, state, changed, now, said)
  local parked, left, suppressed = state[PARKED], state[LEFT], state[SUPPRESSED]
  if root ~= event.id then
    parked, left, suppressed = unpack(redis.call('HMGET', target, 'parked', 'ls', 'sup'))
  end
  if event.sup or (suppressed and has_new_address(event, state)) then
    suppress_address(shop, root)
  end
  if event.addr and parked then
    for _, text in ipairs(release_parked(shop, root, event.at, now)) do said[#said + 1] = text end
  end
  -- It occurred before a mail that has left: was that mail right?
  if left and event.at <= tonumber(left) then look_back(shop, 'p', root, now) end
  if refresh then keep_alive(key, ttl, state[REV]) end
end

-- Of `count` registers of the list, those that are wanted, in a list of their own: names, then values; and how many.
local function only(wanted, list, names, values, count)
  local kept, texts = {}, {}
  for i = 1, count do
    if wanted[list[names + i]] then kept[#kept + 1], texts[#texts + 1] = list[names + i], list[values + i] end
  end
  local kept_count = #kept
  for i = 1, kept_count do kept[kept_count + i] = texts[i] end
  return kept, kept_count
end

-- Of what the event says about its addresses, the wanted registers alone.
local function record_of_addresses(shop, event, wanted, first, now)
  local list, i = event.addresses or NONE, 1
  while list[i] do
    local count = list[i + 2]
    local kept, kept_count = only(wanted, list, i + 2, i + 2 + count, count)
    if kept_count > 0 then record_address(shop, { list[i], list[i + 1], kept_count, unpack(kept) }, 1, first, now) end
    i = next_record(list, i)
  end
end

-- Addresses that somebody gives who was erased.
local function mark_addresses(shop, event, del)
  for i = 1, event.values do
    if event.list[i] == 'A:email' then mark_erased(shop, string.sub(event.list[event.names + i], STAMP + 1), del) end
  end
end

-- What the event of a person erased since says about being written to; that alone holds, in whatever order it arrives.
local function record_refusals(shop, event, key, root, now)
  local list, count = only(REFUSALS, event.list, 0, event.names, event.values)
  if count > 0 then
    local refusal = {
      id = event.id, at = event.at, ttl = event.ttl, sup = event.sup, list = list, names = count, values = count, lines = 0,
    }
    record_id(shop, refusal, key, as_read(key, refusal), root, nil, now, {})
  end
  record_of_addresses(shop, event, REFUSALS, nil, now)
end

-- Links say whose id this is; the root and the verdict follow from them.
local function resolve_links(shop, event, now)
  local results, has_changed = {}, false
  for i = 1, #event.links, 3 do
    local id, other, is_claim, is_news = event.links[i], event.links[i + 1], event.links[i + 2], nil
    results[#results + 1], is_news = link(shop, id, other, event.stamp, is_claim, event.at, now)
    has_changed = has_changed or is_news
  end
  return table.concat(results, ','), has_changed
end

-- Where "claimed" stands in the record as it was read, of an event with links: behind "ids" and "asked".
local function place_of_claimed(event) return HEAD + event.names - (event.bought and 1 or 0) end

-- The usual link, of a new device to the user that the event is told of: what it changes of the user's record is written
-- along with the event. Returns whether it was one.
local function link_along(shop, event, state)
  local links = event.links
  if #links > 3 or links[3] or links[2] ~= event.id or event.del or state[TO] or state[DEL]
      or redis.call('EXISTS', person_key(shop, links[1])) == 1 then
    return false
  end
  local claimed = place_of_claimed(event)
  event.ids = link_new(shop, links[1], event.id, event.id, event.stamp, state[claimed - 2], state[claimed - 1])
  return event.ids ~= nil
end

-- Whose the event is: its id's record as it is, the root, and what became of its links. First of all, since who is one
-- person does not depend on what arrived first: even an event that is erased says so.
local function identify(shop, event, key, now)
  local state, is_known, results, has_changed = as_read(key, event), true, '', false
  if event.srv and not state[SERVER] then
    -- Of a new record, what is recorded now says so as well.
    if event.links then
      is_known = state[REV] or state[place_of_claimed(event)]
    else
      is_known = state[REV] or redis.call('EXISTS', key) == 1
    end
    has_changed = is_known and know(shop, event.id, event.at, now)
  end
  if event.links and not has_changed and link_along(shop, event, state) then
    results = 'linked'
  elseif event.links then
    local is_news
    results, is_news = resolve_links(shop, event, now)
    has_changed = has_changed or is_news
  end
  if has_changed then
    if not is_known then redis.call('HSET', key, 'srv', '1') end
    state = as_read(key, event)
  elseif not is_known then
    event.is_new = true
  end
  return state, state[TO] and root_of(shop, event.id) or event.id, results
end

-- Everything that the event says of a person and an order. Returns its verdict, and the stamp of its purchase.
local function record_person(shop, event, key, state, root, now)
  local said, first = {}, nil
  if event.del and state[CUT] and event.stamp >= state[CUT] and is_device(event.id) then
    -- Whose it is, nobody knows: what was told of the device goes, and no user with it.
    erase_device(shop, event.id, root, event.del)
    return 'ok'
  end
  if event.del then
    if root ~= event.id then ask(key, event.del) end
    local is_all = erase(shop, root, event.del)
    if event.address then is_all = erase_address(shop, event.address, event.del) and is_all end
    return is_all and 'ok' or 'more'
  end
  local del = tonumber(state[DEL] or '0')
  if root ~= event.id then
    del = math.max(del, tonumber(redis.call('HGET', person_key(shop, root), 'asked') or '0'))
  end
  if del > 0 then mark_addresses(shop, event, del) end
  if event.at <= del then
    record_refusals(shop, event, key, root, now)
    -- That the order is none of today's is remembered without a word of whose it was.
    if event.order and event.bought then purchase_stamp(shop, event) end
    return 'del'
  end
  if state[CUT] and event.stamp >= state[CUT] then
    -- Whose it is, nobody knows. It changes and starts nothing. A purchase is remembered, which readers leave out: it
    -- counts once both persons turn out to be one.
    if event.bought then
      first = event.order and purchase_stamp(shop, event) or event.bought[2]
      local purchase = {
        id = event.id, at = event.at, ttl = event.ttl, bought = event.bought, list = NONE, names = 0, values = 0, lines = 0,
      }
      record_id(shop, purchase, key, state, event.id, first, now, said)
    end
    -- What it names by an address, or by the id of an order, does not depend on whose device it is: it may withhold a mail.
    record_of_addresses(shop, event, WITHHOLDING, first, now)
    if event.order and event.order[4] > 0 then record_order(shop, event, event.order, nil, now, said) end
    if event.trail then prepend(key .. ':ev', 'amb\t\t' .. event.trail, TRAIL_ENTRIES, event.ttl) end
    return 'amb'
  end
  if state[IDLE] then attach(shop, event.id, root, event.at, now) end
  if event.bought then
    first = event.bought[2]
    -- A page's word does not count: it could make an order old before it is completed.
    if event.order then first = purchase_stamp(shop, event) end
  end
  if event.order then record_order(shop, event, event.order, first, now, said) end
  record_id(shop, event, key, state, root, first, now, said)
  if event.trail then
    prepend(key .. ':ev', 'ok\t' .. table.concat(said, ';') .. '\t' .. event.trail, TRAIL_ENTRIES, event.ttl)
  end
  return 'ok', first
end

-- The product at `i` of the list.
local function record_product(shop, list, i)
  local key, count, names, writes = shop .. 'product:' .. list[i], list[i + 2], i + 2, {}
  local state = redis.call('HMGET', key, unpack(list, names + 1, names + count))
  news(list, names, names + count, count, state, 0, writes)
  if #writes > 0 then
    redis.call('HSET', key, unpack(writes))
    redis.call('PEXPIRE', key, ms(list[i + 1]))
  end
end

local function record_event(shop, event, now, days)
  local id = event.id or ''
  local key = person_key(shop, id)
  if event.seen and not remember(days, event.seen) and not event.again then
    if event.trail and id ~= '' then note_duplicate(key, event.trail) end
    return 'dup -'
  end
  local verdict, first, root, results = 'ok', nil, '-', ''
  if id ~= '' then
    local state
    state, root, results = identify(shop, event, key, now)
    verdict, first = record_person(shop, event, key, state, root, now)
  end
  -- One event, one verdict.
  if verdict == 'ok' and not event.del then
    local addresses, products, i = event.addresses or NONE, event.products or NONE, 1
    while addresses[i] do
      record_address(shop, addresses, i, first, now)
      i = next_record(addresses, i)
    end
    i = 1
    while products[i] do
      record_product(shop, products, i)
      i = next_record(products, i)
    end
  end
  if event.seen and (verdict == 'del' or verdict == 'more') then forget(days, event.seen) end
  return verdict .. ' ' .. root .. ' ' .. results
end

redis.register_function('fg_record', function(keys, args)
  local shop, now = keys[1], now_ms(args[1])
  -- What would have withdrawn a mail may have been among what was refused: waiting mails settle once more.
  if args[2] == '1' then note_gap(shop, now) end
  if args[3] ~= '' then
    local limited = limit(cmsgpack.unpack(args[3]))
    if limited then return { ms(now), limited } end
  end
  local replies, days = { ms(now) }, seen_days(shop, now)
  for i = 4, #args do replies[#replies + 1] = record_event(shop, cmsgpack.unpack(args[i]), now, days) end
  return replies
end)
