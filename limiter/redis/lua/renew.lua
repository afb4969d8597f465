-- Extends the deadlines of reservations, except those that have passed: their permits may be taken.
--
-- KEYS: the index of open reservations, then the records. ARGV: given time, lease, keep, frozen; then
-- the ids.

local given, lease, keep, frozen = read('<dddd', ARGV[1])
local now = clock(given)
local deadline = now + lease
local raw = call('MGET', unpack(KEYS))

local function renew(key, id, ttl)
  local score = call('ZSCORE', key, id)
  if not score or tonumber(score) <= now then return end
  call('ZADD', key, 'XX', deadline, id)
  call('PEXPIRE', key, ttl)
end

for i = 1, #KEYS - 1 do
  local id, value = ARGV[i + 1], raw[i + 1]
  if value and value ~= '' then
    call('PEXPIRE', KEYS[i + 1], keep)
    renew(KEYS[1], id, keep)
    for _, h in ipairs(read_record(value)) do
      if h.kind == PERMIT and h.amount > 0 then renew(h.key, id, max(lease / 1000 + 1000, frozen)) end
    end
  end
end
return #KEYS - 1
