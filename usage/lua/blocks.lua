-- Stores blocks and tuples of one run, each where nothing newer is.
--
-- KEYS: hashes. ARGV: of each hash for how many milliseconds it is kept and how many fields follow;
-- then the fields, each with its value: a number in decimal and a space before what is stored. The
-- larger number is the newer value.

local at = 1
for _, key in ipairs(KEYS) do
  local ttl, fields = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  at = at + 2
  for _ = 1, fields do
    local field, value = ARGV[at], ARGV[at + 1]
    at = at + 2
    local old = redis.call('HGET', key, field)
    if not old or tonumber(string.match(old, '^%d+')) <= tonumber(string.match(value, '^%d+')) then
      redis.call('HSET', key, field, value)
    end
  end
  if redis.call('PTTL', key) < ttl then redis.call('PEXPIRE', key, ttl) end
end
return 'OK'
