-- Registers a gate as alive, or removes it, and counts the gates that registered lately.
--
-- KEYS: the gates. ARGV: given time, how long a gate counts, 1 to remove the gate; the gate's id. The
-- reply is the number of gates.

local given, ttl, leave = read('<ddd', ARGV[1])
local now = clock(given)
if leave == 1 then
  call('ZREM', KEYS[1], ARGV[2])
else
  -- The first command, so that a Redis without memory refuses it, as it refuses an admission.
  call('ZADD', KEYS[1], now + ttl, ARGV[2])
  call('PEXPIRE', KEYS[1], ttl / 1000)
end
call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
return call('ZCARD', KEYS[1])
