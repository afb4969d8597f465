-- Settles reservations by their ids, so that a repeated call does nothing.
--
-- KEYS: the index and the records. ARGV: given time, keep, frozen, the number of units and of reservations; for
-- each of them how, and the charge of each unit; then the ids; then the records to settle in place of missing
-- ones. how is KNOWN for a record that must be in Redis; GIVE_UP for a reservation that was given up, whose call
-- may still be under way; ONCE to settle the next of the given records, once; LOST to settle the next of them
-- if there is none in Redis. The reply has the numbers of the records that were missing.

local KNOWN, GIVE_UP, ONCE, LOST = 0, 1, 2, 3

local given, keep, frozen, units, n = read('<ddddd', ARGV[1])
local USED = '<' .. string.rep('d', units)
local now = clock(given)
local raw = call('HMGET', KEYS[2], unpack(ARGV, 2, n + 1))
local settled, markers, missing = {}, {}, {}

-- The holds to end, and the keys of their counters.
local holds, keys, known = {}, {}, {}

local function end_holds(value, used)
  local _, _, _, _, _, many, at = read(HEAD, value)
  for _ = 1, many do
    local kind, unit, amount, mark, window, limit, capacity, key, next = read(HOLD, value, at)
    at = next
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

local at, substitute = 41, n + 2
for i = 1, n do
  local how, id, value = read('<d', ARGV[1], at), ARGV[i + 1], raw[i]
  local given_record
  if how == ONCE or how == LOST then
    given_record, substitute = ARGV[substitute], substitute + 1
  end
  if how == ONCE then
    value = call('HSETNX', KEYS[2], id, '') == 1 and given_record
    if value then
      markers[#markers + 1], markers[#markers + 2] = now + DAY, id
    end
  elseif not value or value == '' then
    missing[#missing + 1] = pack('<d', i - 1)
    value = given_record
    if how == GIVE_UP then
      call('HSET', KEYS[2], id, '')
      markers[#markers + 1], markers[#markers + 2] = now + 60 * SECOND, id
    end
  else
    settled[#settled + 1] = id
  end
  if value then end_holds(value, {read(USED, ARGV[1], at + 8)}) end
  at = at + 8 + 8 * units
end

if #keys > 0 then
  for i, value in ipairs(call('MGET', unpack(keys))) do fetched[keys[i]] = value end
end
for _, h in ipairs(holds) do settle_hold(now, unpack(h)) end
flush(now, frozen)
if #settled > 0 then
  call('HDEL', KEYS[2], unpack(settled))
  call('ZREM', KEYS[1], unpack(settled))
end
if #markers > 0 then
  call('ZADD', KEYS[1], unpack(markers))
  call('PEXPIRE', KEYS[1], keep)
  call('PEXPIRE', KEYS[2], keep)
end
return concat(missing)
