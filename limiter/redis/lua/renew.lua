-- Extends the deadlines of reservations, except those that have passed: their permits may be taken.
--
-- KEYS: the index and the records. ARGV: given time, lease, keep, frozen; then the ids.

local given, lease, keep, frozen = read('<dddd', ARGV[1])
local now = clock(given)
local deadline = now + lease
local values = call('HMGET', KEYS[2], unpack(ARGV, 2))
local renewed = {}

local function renew(h)
  local c = counters[h.key]
  if c == nil then
    c = permits(call('MGET', h.key)[1], now) or false
    counters[h.key] = c
  end
  local s = c and share(c, h.window, h.mark)
  if s then
    s.deadline, changed[h.key] = deadline, c
  end
end

for i = 2, #ARGV do
  local id, value = ARGV[i], values[i - 1]
  local score = value and value ~= '' and call('ZSCORE', KEYS[1], id)
  if score and tonumber(score) > now then
    local record = read_record(value)
    if record.reaped == 0 then
      renewed[#renewed + 1], renewed[#renewed + 2] = deadline, id
      for _, h in ipairs(record) do
        if h.kind == PERMIT then renew(h) end
      end
    end
  end
end
flush(now, frozen)
if #renewed > 0 then
  call('ZADD', KEYS[1], unpack(renewed))
  call('PEXPIRE', KEYS[1], keep)
  call('PEXPIRE', KEYS[2], keep)
end
return #renewed / 2
