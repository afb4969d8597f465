-- Settles reservations by their ids, so that a repeated call does nothing.
--
-- KEYS: the index of open reservations, then the records. ARGV: given time, frozen, keep, how many units
-- there are; for each record how, and what is charged of each unit; then for each record the id and what
-- is to be settled where there is no record, mostly nothing. How is 1 for a reservation that was given up,
-- whose call may still be on its way, and 2 for what is settled without a record, once: a mark of it is
-- kept for a day. How is 3 for a slice, of which is told where it stands. The reply has the numbers of the
-- records that were not there.

local given, frozen, keep, units = struct.unpack('<dddd', ARGV[1])
local USED = '<' .. string.rep('d', units)
local now = clock(given)
local raw = redis.call('MGET', unpack(KEYS))
local by_key, left, ids, records, missing = {}, {}, {}, {}, {}

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
  local at = (i - 1) * 8 * (1 + units) + 1
  local how = struct.unpack('<d', ARGV[2], at)
  local used = {struct.unpack(USED, ARGV[2], at + 8)}
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
        -- Of what is no unit, all that was reserved counts as used.
        local charge = unit < units and used[unit + 1] or amount
        settle_hold(by_key, now, charge, kind, amount, mark, window, limit, capacity, key)
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
