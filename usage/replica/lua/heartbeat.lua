-- Registers a gate as alive, and returns what it must know.
--
-- KEYS: the gates, those that readers wait for, the offset of the gate's generation, the epoch. ARGV:
-- the generation, for how many milliseconds the gate counts as alive, and for how many the offset is
-- kept. Returns the offset (-1: none), the epoch, 1 if readers wait for this gate, and the gates.

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local offset = redis.call('GET', KEYS[3])
if offset then redis.call('PEXPIRE', KEYS[3], ARGV[3]) end
local reply = {offset or '-1', redis.call('GET', KEYS[4]) or '0', redis.call('ZSCORE', KEYS[2], ARGV[1]) and '1' or '0'}
for _, gate in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do reply[#reply + 1] = gate end
return reply
