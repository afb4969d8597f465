-- Settles reservations by their ids, so that a repeated call does nothing.
--
-- KEYS: the index of open reservations, then the records. ARGV: given time, frozen, the number of units;
-- for each record how, and the charge of each unit; then for each record the id and the record to settle if
-- there is none in Redis, mostly empty. how is 1 for a reservation that was given up, whose call may still
-- be under way, and 2 to settle the given record, once: a marker for it is kept for a day. The reply has the
-- numbers of the records that were missing.

local GIVE_UP, ONCE = 1, 2

local given, frozen, units = read('<ddd', ARGV[1])
local USED = '<' .. string.rep('d', units)
local now = clock(given)
local raw = call('MGET', unpack(KEYS))
local left, ids, records, missing = {}, {}, {}, {}

-- The holds to end, and the keys of their counters.
local holds, keys, known = {}, {}, {}

local function end_holds(id, value, used)
  local _, _, _, _, n, at = read('<ddddd', value)
  for _ = 1, n do
    local kind, unit, amount, mark, window, limit, capacity, key, next = read(HOLD, value, at)
    at = next
    if kind == PERMIT then
      if left[key] then left[key][#left[key] + 1] = id else left[key] = {id} end
    elseif kind ~= GONE then
      -- For an unknown unit, all that was reserved counts as used.
      local charge = unit < units and used[unit + 1] or amount
      if changes(kind, amount, charge) then
        holds[#holds + 1] = {charge, kind, amount, mark, window, limit, capacity, key}
        if not known[key] then
          keys[#keys + 1], known[key] = key, true
        end
      end
    end
  end
end

for i = 1, #KEYS - 1 do
  local at = (i - 1) * 8 * (1 + units) + 1
  local how = read('<d', ARGV[2], at)
  local id, value = ARGV[2 * i + 1], raw[i + 1]
  if how == ONCE then
    local first = call('SET', KEYS[i + 1], '', 'PX', 86400000, 'NX')
    value = first and ARGV[2 * i + 2] or ''
  elseif not value or value == '' then
    missing[#missing + 1] = pack('<d', i - 1)
    value = ARGV[2 * i + 2]
    if how == GIVE_UP then call('SET', KEYS[i + 1], '', 'PX', 60000) end
  else
    ids[#ids + 1], records[#records + 1] = id, KEYS[i + 1]
  end
  if value ~= '' then end_holds(id, value, {read(USED, ARGV[2], at + 8)}) end
end

if #keys > 0 then
  for i, value in ipairs(call('MGET', unpack(keys))) do fetched[keys[i]] = value end
end
local by_key = {}
for _, h in ipairs(holds) do settle_hold(by_key, now, unpack(h)) end
flush(by_key, now, frozen)
for key, members in pairs(left) do call('ZREM', key, unpack(members)) end
if #ids > 0 then
  call('ZREM', KEYS[1], unpack(ids))
  call('DEL', unpack(records))
end
return table.concat(missing)
