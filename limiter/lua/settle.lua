-- Settles reservations by their ids, so that a repeated call does nothing.
--
-- KEYS: the index of open reservations, then the records. ARGV: given time, frozen, keep; six numbers for
-- each record (dispatched, failed, how, input, output, cost); then for each record the id and what is
-- to be settled where there is no record, mostly nothing. How is 1 for a reservation that was given up,
-- whose call may still be on its way, and 2 for what is settled without a record, once: a mark of it is
-- kept for a day. How is 3 for a slice, of which is told where it stands. The reply has the numbers of the
-- records that were not there.

local given, frozen, keep = struct.unpack('<ddd', ARGV[1])
local now = clock(given)
local raw = redis.call('MGET', unpack(KEYS))
local by_key, left, ids, records, missing = {}, {}, {}, {}, {}

-- charge is Actual.charge; unit 6 is a request of which nothing is known to be reserved.
local function charge(unit, amount, dispatched, failed, input, output, cost)
  if dispatched == 0 then return 0 end
  if unit == 0 then return amount end
  if unit == 6 then return 1 end
  if failed == 1 then return 0 end
  if unit == 1 then return clamp(input + output) end
  if unit == 2 then return input end
  if unit == 3 then return output end
  return cost
end

-- stand brings a slice to where it stands by what was told: a number, whether it has ended, and of each hold
-- the amount, and what of a bucket is not spent or of a quota was used. What is told late does nothing.
local function stand(id, key, value, told)
  local record, holds = read_record(value), {}
  local number, ended, at = struct.unpack('<dd', told)
  if number <= record.cap then return end
  for i, h in ipairs(record) do
    local amount, other
    amount, other, at = struct.unpack('<dd', told, at)
    if h.kind == BUCKET then
      settle_hold(by_key, now, 0, BUCKET, h.amount - amount, h.mark - other, h.window, h.limit, h.capacity, h.key)
      h.mark = other
    else
      settle_hold(by_key, now, other - h.window, h.kind, h.amount - amount, h.mark, 0, h.limit, h.capacity, h.key)
      h.window = other
    end
    h.amount = amount
    holds[i] = repack(h)
  end
  if ended == 1 then
    ids[#ids + 1], records[#records + 1] = id, key
  else
    write_record(key, record.candidate, record.total, number, record.commons, holds, keep)
  end
end

for i = 1, #KEYS - 1 do
  local dispatched, failed, how, input, output, cost = struct.unpack('<dddddd', ARGV[2], (i - 1) * 48 + 1)
  local id, value = ARGV[2 * i + 1], raw[i + 1]
  if how == 3 then
    if value and value ~= '' then
      stand(id, KEYS[i + 1], value, ARGV[2 * i + 2])
    else
      missing[#missing + 1] = struct.pack('<d', i - 1)
    end
    value = ''
  elseif how == 2 then
    local first = redis.call('SET', KEYS[i + 1], '', 'PX', 86400000, 'NX')
    value = first and ARGV[2 * i + 2] or ''
  elseif not value or value == '' then
    missing[#missing + 1] = struct.pack('<d', i - 1)
    value = ARGV[2 * i + 2]
    if how == 1 then redis.call('SET', KEYS[i + 1], '', 'PX', 60000) end
  else
    ids[#ids + 1], records[#records + 1] = id, KEYS[i + 1]
  end
  if value ~= '' then
    local _, _, _, _, holds, at = struct.unpack('<ddddd', value)
    for _ = 1, holds do
      local kind, unit, amount, mark, window, limit, capacity, key, next = struct.unpack(HOLD, value, at)
      at = next
      if kind == LEASE then
        if left[key] then left[key][#left[key] + 1] = id else left[key] = {id} end
      elseif kind ~= GONE then
        settle_hold(by_key, now, charge(unit, amount, dispatched, failed, input, output, cost),
          kind, amount, mark, window, limit, capacity, key)
      end
    end
  end
end

flush(by_key, now, frozen)
for key, members in pairs(left) do redis.call('ZREM', key, unpack(members)) end
if #ids > 0 then
  redis.call('ZREM', KEYS[1], unpack(ids))
  redis.call('DEL', unpack(records))
end
return table.concat(missing)
