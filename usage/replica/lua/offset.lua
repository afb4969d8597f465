-- Stores through which offset of its journal a generation is in Redis, and on which days it has
-- samples.
--
-- KEYS: the offset; where that is in the index, the days too. ARGV: the offset, for how many
-- milliseconds it is kept; the generation, and for how many milliseconds each day is kept.

local old = tonumber(redis.call('GET', KEYS[1]) or -1)
if tonumber(ARGV[1]) > old then redis.call('SET', KEYS[1], ARGV[1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
for i = 2, #KEYS do
  redis.call('SADD', KEYS[i], ARGV[3])
  local ttl = tonumber(ARGV[i + 2])
  if redis.call('PTTL', KEYS[i]) < ttl then redis.call('PEXPIRE', KEYS[i], ttl) end
end
return 'OK'
