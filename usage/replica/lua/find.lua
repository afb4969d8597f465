-- Finds the generations that have samples on some days.
--
-- KEYS: the gates that readers wait for, the offset of the reader's generation, the days. Returns how
-- many gates readers wait for, the offset (-1: none), and the generations of each day.

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local reply = {redis.call('ZCOUNT', KEYS[1], now + 1, '+inf'), redis.call('GET', KEYS[2]) or '-1'}
for i = 3, #KEYS do reply[i] = redis.call('SMEMBERS', KEYS[i]) end
return reply
