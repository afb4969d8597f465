-- Tells who has sums on some days.
--
-- KEYS: those that are waited for, the mark of the reader's run, the days. The reply: how many are
-- waited for, the mark (-1: none), and the runs of each day.

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local reply = {redis.call('ZCOUNT', KEYS[1], now + 1, '+inf'), redis.call('GET', KEYS[2]) or '-1'}
for i = 3, #KEYS do reply[i] = redis.call('SMEMBERS', KEYS[i]) end
return reply
