-- Reaps reservations whose deadline has passed, at most a hundred: their gate is dead or cut off.
-- Permits are freed. What was reserved of a quota counts as used, because it may have been; if the gate
-- settles after all, the record has what to return. Buckets refill by themselves.
--
-- KEYS: the index of open reservations. ARGV: given time, keep, frozen; the prefix of the records' keys.
-- The reply is the number of reservations.

local given, keep, frozen = read('<ddd', ARGV[1])
local now = clock(given)
local by_key = {}
local ids = call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)
if #ids == 0 then return 0 end

for _, id in ipairs(ids) do
  local key = ARGV[2] .. id
  local value = call('GET', key)
  if value and value ~= '' then
    local record, holds = read_record(value), {}
    for i, h in ipairs(record) do
      if h.kind == QUOTA then
        settle_hold(by_key, now, h.amount, QUOTA, h.amount, h.mark, h.window, h.limit, h.capacity, h.key)
        h.kind = REAPED
      elseif h.kind == PERMIT then
        call('ZREM', h.key, id)
        h.kind = GONE
      end
      holds[i] = repack(h)
    end
    write_record(key, record.candidate, record.total, record.cap, record.commons, holds, keep)
  end
end
flush(by_key, now, frozen)
call('ZREM', KEYS[1], unpack(ids))
return #ids
