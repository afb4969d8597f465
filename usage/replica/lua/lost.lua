-- Records that Redis has lost usage, so that readers wait for the gates that may deliver it again.
--
-- KEYS: the gates that readers wait for, the epoch. ARGV: for how many milliseconds at most, the epoch
-- that begins; the gates.

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if tonumber(ARGV[2]) > tonumber(redis.call('GET', KEYS[2]) or 0) then redis.call('SET', KEYS[2], ARGV[2]) end
return 'OK'
