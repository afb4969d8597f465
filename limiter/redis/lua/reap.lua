-- Reaps reservations whose deadline has passed, at most a hundred: their gate is dead or cut off.
-- Permits are freed. What was reserved of a quota counts as used, because it may have been; if the gate
-- settles after all, the record has what to return, for as long as keep. Buckets refill by themselves.
--
-- KEYS: the index and the records. ARGV: given time, keep, frozen. The reply is the number of reservations.

local given, keep, frozen = read('<ddd', ARGV[1])
local now = clock(given)
local ids = call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 100)
if #ids == 0 then return 0 end

local values = call('HMGET', KEYS[2], unpack(ids))
local kept, scores, ended = {}, {}, {}
for i, id in ipairs(ids) do
  local value = values[i]
  local record = value and value ~= '' and read_record(value)
  if not record or record.reaped == 1 then
    ended[#ended + 1] = id
  else
    local holds = {}
    for j, h in ipairs(record) do
      if h.kind == QUOTA then
        settle_hold(now, h.amount, QUOTA, h.amount, h.mark, h.window, h.limit, h.capacity, h.key)
        h.kind = REAPED
      elseif h.kind == PERMIT then
        settle_hold(now, 0, PERMIT, h.amount, h.mark, h.window, h.limit, h.capacity, h.key)
        h.kind = GONE
      end
      holds[j] = repack(h)
    end
    kept[#kept + 1], scores[#scores + 1] = id, now + keep * 1000
    kept[#kept + 1] = record_of(record.candidate, record.total, record.cap, record.commons, 1, holds)
    scores[#scores + 1] = id
  end
end
flush(now, frozen)
if #ended > 0 then
  call('HDEL', KEYS[2], unpack(ended))
  call('ZREM', KEYS[1], unpack(ended))
end
if #kept > 0 then
  call('HSET', KEYS[2], unpack(kept))
  call('ZADD', KEYS[1], unpack(scores))
  call('PEXPIRE', KEYS[2], keep)
  call('PEXPIRE', KEYS[1], keep)
end
return #ids
