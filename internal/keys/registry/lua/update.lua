-- Replaces an entry if it still is what it was read as.
-- KEYS: the hash of entries, the sorted set of changes, the hash of meta data.
-- ARGV: id, old value ('' for none), new value ('' to delete it), member of the set of changes, epoch of a new history.
-- Returns 1, or 0 where the entry has changed.
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then
	return 0
end
redis.call('HSETNX', KEYS[3], 'epoch', ARGV[5])
local version = redis.call('HINCRBY', KEYS[3], 'version', 1)
if ARGV[3] == '' then
	redis.call('HDEL', KEYS[1], ARGV[1])
else
	redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
redis.call('ZADD', KEYS[2], version, ARGV[4])
return 1
