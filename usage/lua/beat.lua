-- Notes that a gate lives, and tells it what it must know.
--
-- KEYS: the gates, those that are being waited for, the mark of the gate's run, the epoch. ARGV: the
-- run, for how many milliseconds the gate counts as alive, and for how many the mark is kept. The
-- reply: the mark (-1: none), the epoch, 1 where this gate is waited for, and the gates.

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local mark = redis.call('GET', KEYS[3])
if mark then redis.call('PEXPIRE', KEYS[3], ARGV[3]) end
local reply = {mark or '-1', redis.call('GET', KEYS[4]) or '0', redis.call('ZSCORE', KEYS[2], ARGV[1]) and '1' or '0'}
for _, gate in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do reply[#reply + 1] = gate end
return reply
