-- Moves the deadlines of reservations on. A deadline that has passed stays so: its place may be taken.
--
-- KEYS: the index of open reservations, then the records. ARGV: given time, lease, keep, frozen; then
-- the ids. The reply is how many records were there and have all places that they had.

local given, lease, keep, frozen = struct.unpack('<dddd', ARGV[1])
local now = clock(given)
local deadline = now + lease
local raw = redis.call('MGET', unpack(KEYS))
local there = 0

local function renew(key, id, ttl)
  local score = redis.call('ZSCORE', key, id)
  if not score or tonumber(score) <= now then return false end
  redis.call('ZADD', key, 'XX', deadline, id)
  redis.call('PEXPIRE', key, ttl)
  return true
end

for i = 1, #KEYS - 1 do
  local id, value = ARGV[i + 1], raw[i + 1]
  if value and value ~= '' then
    redis.call('PEXPIRE', KEYS[i + 1], keep)
    renew(KEYS[1], id, keep)
    local whole = 1
    for _, h in ipairs(read_record(value)) do
      if h.kind == GONE or h.kind == LEASE and h.amount > 0 and
        not renew(h.key, id, math.max(lease / 1000 + 1000, frozen)) then
        whole = 0
      end
    end
    there = there + whole
  end
end
return there
