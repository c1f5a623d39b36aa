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
--   fields   {name, ...}: what is read of the id's record: its registers, then of each changed line "+<line>", "n:<line>"
--            and for a removal "-<line>", then "O" if there is a purchase
--   values   {stamp and text, ...} of the registers          clear  stamp of a cart that was emptied
--   lines    {stamp, change, JSON, ...}: see cart.lua
--   starts   {scope, "p" or "o", field of the mark, delay, settle, ...}: timers started if the mark is news
--   subjects {{how the fields of a mark begin, trigger, ...}, ...}: see subjects.lua
--   addr     true = this event brings an address             sup    true = an opt-out or opt-in without an address
--   del      erase everything up to this ms                  srv    true = a server says so
--   address  id of the address that `del` names in place of an id: whoever has it is erased
--   links    {{id, the id that it belongs to, is a page's claim}, ...}
--   trace    the event's trace, which its timers carry along
--   order    {id, ttl, {names}, {values}, how many}: so many registers, then those whose oldest stamp wins
--   bought   {order's id, stamp, JSON of the products}: a purchase
--   addresses  {{id, ttl, {names}, {values}}, ...}
--   products   {{id, ttl, {names}, {values}}, ...}: what a server says of products, where pages tell of them too
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
    unpack(event.fields or NONE))
end

-- The start at `i` of the list.
local function set_due(shop, starts, i, id, at, now, said)
  local scope, kind, delay, settle = starts[i], starts[i + 1], starts[i + 3], starts[i + 4]
  local timer = scope .. '|' .. kind .. ':' .. id
  -- A clock that runs ahead never delays a mail beyond now + delay.
  local due = delay == 0 and now + SAFETY_NET_MS or math.max(math.min(at, now) + delay, now + settle)
  -- One that waits for an address, or for its next try, is decided on at once as well. A due of its own keeps the timer
  -- from whoever finishes what an older event started.
  set_timer(shop, timer, due, delay == 0 and 'CH' or 'GT')
  said[#said + 1] = scope .. ' set ' .. ms(due - at)
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
  local id, ttl, names, values, count = order[1], order[2], order[3], order[4], order[5]
  local key, teller = order_key(shop, id), nil
  local state = redis.call('HMGET', key, 'x', 'rev', 'ls', 'm:order', unpack(names))
  local writes = { 'rev', ms(tonumber(state[2] or '0') + 1) }
  news(names, values, count, state, 4, writes)
  for i = count + 1, #names do
    local field, telling, known = names[i], values[i], state[4 + i]
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
  local starts = event.starts or NONE
  for i = 1, #starts, 5 do
    -- An older telling, too, may bring what was missing.
    if starts[i + 1] == 'o' then
      set_due(shop, starts, i, id, event.at, now, said)
      if event.trace then add(writes, 'p:' .. starts[i], event.trace) end
    end
  end
  local refresh = next_refresh(state[1], ttl, now)
  if refresh then add(writes, 'x', refresh) end
  redis.call('HSET', key, unpack(writes))
  if teller and state[2] then drop_teller(key, names[teller], values[teller]) end
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

local function record_address(shop, event, address, first, now)
  local id, ttl, names, values = address[1], address[2], address[3], address[4]
  local key, writes = address_key(shop, id), {}
  local state = redis.call('HMGET', key, 'x', 'rev', unpack(names))
  for i = 1, first and #names or 0 do
    if names[i] == 'm:order' and first < values[i] then values[i] = first .. string.sub(values[i], STAMP + 1) end
  end
  news(names, values, #names, state, 2, writes)
  local refresh = next_refresh(state[1], ttl, now)
  if refresh then add(writes, 'x', refresh) end
  if #writes == 0 then return end
  add(writes, 'rev', ms(tonumber(state[2] or '0') + 1))
  redis.call('HSET', key, unpack(writes))
  for i = 1, state[2] and #names or 0 do
    if not state[2 + i] and string.sub(names[i], 1, 2) == 'h:' then drop_holder(key) end
  end
  if refresh then keep_alive(key, ttl) end
end

-- What the event says of the id that it was told of, and what that starts.
local function record_id(shop, event, key, state, root, first, now, said)
  local names, values, ttl = event.fields or NONE, event.values or NONE, root == event.id and event.ttl or PERSON_TTL
  local writes = {
    'rev', ms(tonumber(state[REV] or '0') + 1),
    'rx', ms(math.max(tonumber(state[RX] or '0'), now)),
  }
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
  local advanced = news(names, values, #values, state, HEAD, writes)
  if event.lines then change_lines(key, event.lines, names, state, HEAD, #values + 1, count, cleared, writes) end
  if event.bought then
    advanced['m:order'] = remember_purchase(state[#state] or nil, event.bought[1], first, event.bought[3], writes)
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
  for _, bound in ipairs(event.subjects or {}) do
    bound_subjects(shop, event, root, bound, state, HEAD, advanced, said)
  end
  local starts = event.starts or NONE
  for i = 1, #starts, 5 do
    if starts[i + 1] == 'p' and advanced[starts[i + 2]] then
      local due, delay = set_due(shop, starts, i, root, event.at, now, said)
      redis.call('HSETNX', target, 'f:' .. starts[i], ms(delay > 0 and due or 0))
      if event.trace then redis.call('HSET', target, 'p:' .. starts[i], event.trace) end
    end
  end
  local flags = root == event.id and { state[PARKED], state[LEFT], state[SUPPRESSED] }
    or redis.call('HMGET', target, 'parked', 'ls', 'sup')
  local has_address = advanced['A:email'] or advanced['A:typed_email'] or advanced['A:said_email'] or advanced['A:id']
  if event.sup or (flags[3] and has_address) then
    suppress_address(shop, root)
  end
  if event.addr and flags[1] then
    for _, text in ipairs(release_parked(shop, root, event.at, now)) do said[#said + 1] = text end
  end
  -- It occurred before a mail that has left: was that mail right?
  if flags[2] and event.at <= tonumber(flags[2]) then look_back(shop, 'p', root, now) end
  if refresh then keep_alive(key, ttl, state[REV]) end
end

-- The registers {names[i], values[i]} that are among the wanted ones.
local function only(wanted, names, values)
  local kept, texts = {}, {}
  for i = 1, #values do
    if wanted[names[i]] then kept[#kept + 1], texts[#texts + 1] = names[i], values[i] end
  end
  return kept, texts
end

-- Of what the event says about its addresses, the wanted registers alone.
local function record_of_addresses(shop, event, wanted, first, now)
  for _, address in ipairs(event.addresses or {}) do
    local names, values = only(wanted, address[3], address[4])
    if #names > 0 then record_address(shop, event, { address[1], address[2], names, values }, first, now) end
  end
end

-- Addresses that somebody gives who was erased.
local function mark_addresses(shop, event, del)
  for i, field in ipairs(event.fields or NONE) do
    if field == 'A:email' then mark_erased(shop, string.sub(event.values[i], STAMP + 1), del) end
  end
end

-- What the event of a person erased since says about being written to; that alone holds, in whatever order it arrives.
local function record_refusals(shop, event, key, root, now)
  local refusal = { id = event.id, at = event.at, ttl = event.ttl, sup = event.sup }
  refusal.fields, refusal.values = only(REFUSALS, event.fields or NONE, event.values or NONE)
  if #refusal.fields > 0 then record_id(shop, refusal, key, as_read(key, refusal), root, nil, now, {}) end
  record_of_addresses(shop, event, REFUSALS, nil, now)
end

-- Links say whose id this is; the root and the verdict follow from them.
local function resolve_links(shop, event, state, now)
  local results, has_changed = {}, false
  for i, pair in ipairs(event.links) do
    local is_news
    local root = pair[2] == event.id and not state[TO] and not has_changed and event.id or nil
    results[i], is_news = link(shop, pair[1], pair[2], root, event.stamp, pair[3], event.at, now)
    has_changed = has_changed or is_news
  end
  return table.concat(results, ','), has_changed
end

-- Whose the event is: its id's record as it is, the root, and what became of its links. First of all, since who is one
-- person does not depend on what arrived first: even an event that is erased says so.
local function identify(shop, event, key, now)
  local state, is_known, results, has_changed = as_read(key, event), true, '', false
  if event.srv and not state[SERVER] then
    -- Of a new record, what is recorded now says so as well.
    is_known = state[REV] or redis.call('EXISTS', key) == 1
    has_changed = is_known and know(shop, event.id, event.at, now)
  end
  if event.links then
    local is_news
    results, is_news = resolve_links(shop, event, state, now)
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
      local purchase = { id = event.id, at = event.at, ttl = event.ttl, bought = event.bought }
      record_id(shop, purchase, key, state, event.id, first, now, said)
    end
    -- What it names by an address, or by the id of an order, does not depend on whose device it is: it may withhold a mail.
    record_of_addresses(shop, event, WITHHOLDING, first, now)
    if event.order and event.order[5] > 0 then record_order(shop, event, event.order, nil, now, said) end
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

local function record_product(shop, product)
  local key, writes = shop .. 'product:' .. product[1], {}
  news(product[3], product[4], #product[3], redis.call('HMGET', key, unpack(product[3])), 0, writes)
  if #writes > 0 then
    redis.call('HSET', key, unpack(writes))
    redis.call('PEXPIRE', key, ms(product[2]))
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
    for _, address in ipairs(event.addresses or {}) do record_address(shop, event, address, first, now) end
    for _, product in ipairs(event.products or {}) do record_product(shop, product) end
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
