-- Stores blocks and series of one generation, each unless a newer value is there.
--
-- KEYS: hashes. ARGV: for each hash, for how many milliseconds it is kept and the number of fields,
-- then the fields, each with its value: a decimal number, a space, and the content. The larger number
-- is the newer value.

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
