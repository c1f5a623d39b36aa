-- feedback: what an ESP reports of a mail, by the send's id (`sends.lua` has what is known of it).
--
-- fg_feedback  KEYS[1] the shop  ARGV now or "", msgpack map:
--                send     the send's id, or ""        key     what makes two reports the same
--                kind     of the report               at      when it happened (ms)
--                reason   the ESP's words             esp     the account
--                address  the recipient's id or ""
--                field, stamp, value   the register of the address that the report sets, if it sets one
--                soft     soft bounces in a row that suppress; field, stamp and value are then those of that
--                outcome  that the shop hears of: `outcomes.lua`; may be missing
--              REPLY {"new" | "duplicate" | "unmatched" = no such send here, trigger or "", accepted at (ms) or "",
--                     "settled" = the send was unknown, and is sent now | "",
--                     "suppressed" = the address gets no mail from now on | ""}

local REPORTS = 30
-- No claim goes because of a report.
local KEPT_CLAIMS = 10000

-- The report, remembered; false where it is known.
local function remember_report(key, report)
  local reports = { report }
  for known in string.gmatch(redis.call('HGET', key, 'e') or '', '[^;]+') do
    if known == report then return false end
    if #reports < REPORTS then reports[#reports + 1] = known end
  end
  redis.call('HSET', key, 'e', table.concat(reports, ';'))
  return true
end

-- A send of which nobody knew if it left is sent: it leaves the operator's lists, and a retry finds a duplicate.
local function settle_by_feedback(shop, send, sent, address, now)
  local key = shop .. sent.o
  local current = claim_of(key, sent.f, send)
  -- A further attempt is under way: whoever settles it learns that the mail has left.
  if current and current.state == 'claimed' then redis.call('HSET', shop .. 's:' .. send, 'r', '1') end
  if not current or not UNSETTLED[current.state] then return false end
  if address ~= '' then
    -- A retry had given back its place among the mails that the address may get.
    local mails = mails_of(address_key(shop, address), send)
    table.insert(mails, 1, sent.at .. ' ' .. send .. ' ' .. sent.g)
    redis.call('HSET', address_key(shop, address), 'mails', table.concat(mails, ';', 1, math.min(#mails, MAILS)))
  end
  write_claim(key, sent.f, send, to_sent(string.sub(current.line, #send + 2)), KEPT_CLAIMS)
  bump(key)
  list_for_operator(shop, sent.l, 'sent', now)
  return true
end

-- The shop hears of the report; of one that came before its claim was settled once that is.
local function emit_report(shop, key, outcome, sent, settled)
  if not outcome then return end
  if not sent.o then
    local early = redis.call('HGET', key, 'q')
    early = early and cmsgpack.unpack(early) or {}
    if #early < REPORTS then early[#early + 1] = outcome end
    redis.call('HSET', key, 'q', cmsgpack.pack(early))
    return
  end
  outcome.fields[PERSON], outcome.fields[TRIGGER] = sent.p, sent.g
  if settled then emit(shop, as_sent(outcome, 'reported_by_esp')) end
  emit(shop, outcome)
end

-- Soft bounces in a row; a delivery ends the row.
local function count_soft(shop, report)
  local key = address_key(shop, report.address)
  if report.kind == 'delivered' then redis.call('HDEL', key, 'soft') end
  if report.kind ~= 'soft_bounced' then return report.field end
  -- An ESP reports more than once, and a request can be sent again: each bounce counts once.
  local row = redis.call('HGET', key, 'soft') or ''
  if not string.find(row, report.stamp, 1, true) and #row < report.soft * #report.stamp then
    row = row .. report.stamp
    redis.call('HSET', key, 'soft', row)
  end
  if redis.call('PTTL', key) == -1 and redis.call('HEXISTS', key, 'x') == 0 then
    redis.call('PEXPIRE', key, ms(PERSON_TTL))
  end
  return #row >= report.soft * #report.stamp and report.field or nil
end

local function line_of(report, now)
  return { t = now, state = report.kind, reason = report.reason, send = report.send, esp = report.esp }
end

-- The worker is about to settle it; a send of another shop expires.
local function wait_for_claim(key, line)
  local early = redis.call('HGET', key, 'n')
  early = early and cmsgpack.unpack(early) or {}
  if #early < REPORTS then early[#early + 1] = line end
  redis.call('HSET', key, 'r', '1', 'n', cmsgpack.pack(early))
  redis.call('PEXPIRE', key, ms(DAY))
end

redis.register_function('fg_feedback', function(keys, args)
  local shop, now, report = keys[1], now_ms(args[1]), cmsgpack.unpack(args[2])
  local key, sent, settled = shop .. 's:' .. report.send, {}, false
  local account = report.send ~= '' and redis.call('HGET', key, 'a')
  -- Whoever may report for one account says nothing of another one's mails.
  local is_anothers = account and account ~= report.esp
  if report.send ~= '' and not is_anothers then
    if not remember_report(key, report.key) then return { 'duplicate', '', '', '', '' } end
    sent = hash(key)
    if sent.o then
      settled = settle_by_feedback(shop, report.send, sent, report.address, now)
    else
      wait_for_claim(key, line_of(report, now))
    end
    emit_report(shop, key, report.outcome, sent, settled)
  end
  local suppressed = false
  -- What lifts a suppression is believed of its own mails alone.
  if report.address ~= '' and not (is_anothers and report.kind == 'resubscribed') then
    local field = count_soft(shop, report)
    suppressed = field and set_address_register(shop, report.address, field, report.stamp, report.value)
      and report.kind ~= 'resubscribed'
  end
  if sent.p and sent.p ~= '' then
    local person, line = root_of(shop, sent.p), line_of(report, now)
    line.trigger = sent.g
    note(shop, person, report.send .. ' ' .. report.kind, cjson.encode(line))
    if settled then
      line.state, line.reason = 'sent', 'reported_by_esp'
      note(shop, person, '', cjson.encode(line))
    end
  end
  return { sent.o and 'new' or 'unmatched', sent.g or '', sent.at or '', settled and 'settled' or '',
    suppressed and 'suppressed' or '' }
end)
