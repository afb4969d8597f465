-- Notes up to which entry of its journal a run is stored, and on which days it has sums.
--
-- KEYS: the mark; with it, where the index is, the days. ARGV: the number of the entry, for how many
-- milliseconds the mark is kept; the run, and for how long each day is.

local old = tonumber(redis.call('GET', KEYS[1]) or -1)
if tonumber(ARGV[1]) > old then redis.call('SET', KEYS[1], ARGV[1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
for i = 2, #KEYS do
  redis.call('SADD', KEYS[i], ARGV[3])
  local ttl = tonumber(ARGV[i + 2])
  if redis.call('PTTL', KEYS[i]) < ttl then redis.call('PEXPIRE', KEYS[i], ttl) end
end
return 'OK'
