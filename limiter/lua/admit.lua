-- Admits, peeks, moves or shrinks: all limits of one request on this node, in one step.
--
-- KEYS: the record of the reservation, the index of those that are open, and the counters: those of
-- the request, then those of each candidate. ARGV: the reservation's id; the numbers read next; the
-- numbers of each counter, see look; how many counters each candidate has.
--
-- The reply begins with what came of it and the time. ADMITTED: candidate, total, cap, and of the
-- counters that were taken room, mark and used, after it. REFUSED: room, mark and used of all
-- counters, from which the gate tells who refused, and of PEEK too. UNSEEDED: number and start of
-- quotas for which the gate must ask. GIVEN_UP: the reservation was settled before it was made.

local RESERVE, PEEK, MOVE, SHRINK = 0, 1, 2, 3
local ADMITTED, REFUSED, UNSEEDED, GIVEN_UP = 0, 1, 2, 3

local id = ARGV[1]
local mode, given, lease, keep, frozen, total, cap, least, answers, commons, candidates =
  struct.unpack('<ddddddddddd', ARGV[2])
local now = clock(given)
local raw = redis.call('MGET', unpack(KEYS))
local FIRST = 2 -- keys before those of the counters

local record
if raw[1] and mode ~= PEEK then
  if raw[1] == '' then return struct.pack('<dd', GIVEN_UP, now) end
  record = read_record(raw[1])
end

-- What the request asks of the counter at i, and the counters, which two candidates may share: they
-- are read when they are first looked at.
local asks, by_key, unseeded = {}, {}, {}
local ASK = 11 * 8

local function quota(i, a)
  local c = raw[FIRST + i] and read_quota(raw[FIRST + i], KEYS[FIRST + i])
  if not c then c = {kind = QUOTA, key = KEYS[FIRST + i], start = 0, finish = 0} end
  -- A window that has ended is not opened again by a clock that steps back, but for more than a day.
  if now >= c.finish or now < c.start - DAY then
    c.start, c.finish = bounds(a.window, now)
    c.used, c.reserved, c.seeded = 0, 0, 0
  end
  if c.seeded == 0 then
    if a.since < 0 then -- nobody knows of an earlier use
      c.seeded = 1
    elseif a.seed >= 0 and a.since == c.start then
      c.used, c.seeded, c.dirty = clamp(c.used + a.seed), 1, true
    else
      unseeded[#unseeded + 1] = struct.pack('<dd', i - 1, c.start)
    end
  end
  return c
end

local function look(i)
  local a, key = asks[i], KEYS[FIRST + i]
  if a then return by_key[key], a end
  a = {}
  a.kind, a.window, a.amount, a.capacity, a.base, a.most, a.clip, a.price, a.unit, a.seed, a.since =
    struct.unpack('<ddddddddddd', ARGV[3], (i - 1) * ASK + 1)
  asks[i] = a
  local c = by_key[key]
  if c then return c, a end
  if a.kind == BUCKET then
    c = bucket(raw[FIRST + i], key, a.window, a.amount, a.capacity, now)
    -- A reload may have changed the limit, also for a request that takes nothing.
    if c.amount ~= a.amount or c.capacity ~= a.capacity then
      c.amount, c.capacity, c.dirty = a.amount, a.capacity, true
      trim(c)
    end
  elseif a.kind == QUOTA then
    c = quota(i, a)
  else
    c = {kind = LEASE, key = key}
    c.taken = redis.call('ZCOUNT', key, string.format('(%.0f', now), '+inf')
  end
  by_key[key] = c
  return c, a
end

local function room(c, a)
  if c.kind == BUCKET then return c.level end
  if c.kind == QUOTA then return a.amount - c.used - c.reserved end
  return a.amount - c.taken
end

-- room_beside counts what the candidate that is given up by a move will give back.
local function room_beside(c, a)
  local free = room(c, a)
  if mode == MOVE and record then
    for j = record.commons + 1, #record do
      local h = record[j]
      if h.key == c.key and h.unit ~= 0 and (c.kind == LEASE and c.mine or c.kind == BUCKET or
        c.kind == QUOTA and h.kind == QUOTA and h.mark == c.start) then
        return math.min(free + h.amount, a.capacity)
      end
    end
  end
  return free
end

-- need, lower and fits are those of demand.go and admit.go.
local function need(a, output)
  local n = math.min(output, a.most)
  if a.price > 0 then n = mul_div(n, a.price, 999, 1000) end
  return math.min(a.base + n, a.clip)
end

local function lower(c, a)
  local free = room_beside(c, a)
  if need(a, total) <= free or need(a, least) > free then return end
  local most = free - a.base
  if a.price > 0 then most = mul_div(most, 1000, 0, a.price) end
  cap = (most - math.fmod(most, answers)) / answers
  total = cap * answers
end

local function fits(first, n)
  for i = first, first + n - 1 do
    local c, a = look(i)
    if c.kind == QUOTA then lower(c, a) end
  end
  local all = true
  for i = first, first + n - 1 do
    local c, a = look(i)
    local output = total
    if c.kind == QUOTA then output = math.min(total, least) end
    local n = need(a, output)
    if n > 0 and n > room_beside(c, a) then all = false end
  end
  return all
end

local function push(out, first, n)
  for i = first, first + n - 1 do
    local c, a = look(i)
    local mark, used = 0, 0
    if c.kind == BUCKET then mark = c.fraction
    elseif c.kind == QUOTA then mark, used = c.start, c.used end
    out[#out + 1] = struct.pack('<ddd', room(c, a), mark, used)
  end
end

-- finish answers without taking anything.
local function finish()
  local out = {struct.pack('<dd', REFUSED, now)}
  push(out, 1, #KEYS - FIRST)
  flush(by_key, now, frozen)
  if #unseeded > 0 then return struct.pack('<dd', UNSEEDED, now) .. table.concat(unseeded) end
  return table.concat(out)
end

local deadline = now + lease

-- take takes what the request needs of counters, and notes it in the record.
local function take(first, n)
  for i = first, first + n - 1 do
    local c, a = look(i)
    local amount, mark = need(a, total), c.start or 0
    if amount > 0 then
      if c.kind == BUCKET then
        c.level, c.dirty = c.level - amount, true
      elseif c.kind == QUOTA then
        c.reserved = c.reserved + amount
      else
        redis.call('ZADD', c.key, string.format('%.0f', deadline), id)
        redis.call('PEXPIRE', c.key, string.format('%.0f', math.max(lease / 1000 + 1000, frozen)))
        c.taken = c.taken + 1
      end
    end
    if c.kind == QUOTA then c.dirty = true end -- also where it is only settled later
    record[#record + 1] = {kind = c.kind, unit = a.unit, amount = amount, mark = mark,
      window = a.window, limit = a.amount, capacity = a.capacity, key = c.key}
  end
end

if mode == PEEK then return finish() end

-- Another node has lowered the output: what was taken for more comes back.
if mode == SHRINK then
  if not record then return finish() end
  for i = 1, commons do
    local c, a = look(i)
    local h, n = record[i], need(a, total)
    if h.amount > n then
      return_to(c, h.kind, h.amount - n, h.mark, 0, now)
      h.amount, c.dirty = n, true
    end
  end
  flush(by_key, now, frozen)
  write_record(KEYS[1], record, keep)
  local out = {struct.pack('<ddddd', ADMITTED, now, 0, total, cap)}
  push(out, 1, commons)
  return table.concat(out)
end

local sizes = {struct.unpack('<' .. string.rep('d', candidates), ARGV[4])}
if candidates == 0 then sizes[1] = 0 end
local chosen, first = -1, commons + 1

if mode == RESERVE and record then -- the same call again: its answer was lost
  chosen, total, cap = record.candidate, record.total, record.cap
  for i = 1, chosen do first = first + sizes[i] end
  local n = sizes[chosen + 1] or -1
  if #record ~= commons + n then return struct.pack('<dd', GIVEN_UP, now) end
  local out = {struct.pack('<ddddd', ADMITTED, now, chosen, total, cap)}
  push(out, 1, commons)
  push(out, first, n)
  return table.concat(out)
end

if mode == MOVE then
  -- Which leases are the reservation's own and live: only those come back.
  for i = 1, #KEYS - FIRST do
    local c = look(i)
    if c.kind == LEASE then
      local score = redis.call('ZSCORE', c.key, id)
      c.mine = score and tonumber(score) > now
    end
  end
end

local admitted = fits(1, commons)
local after_total, after_cap = total, cap
for i = 1, candidates do
  total, cap = after_total, after_cap
  if fits(first, sizes[i]) then
    chosen = i - 1
    break
  end
  first = first + sizes[i]
end
if candidates == 0 then chosen = 0 end
if not admitted or chosen < 0 or #unseeded > 0 then return finish() end

if mode == MOVE and record then
  for j = record.commons + 1, #record do
    local h = record[j]
    settle_hold(h, id, h.unit == 0 and h.amount or 0, by_key, now) -- failed: its request counts
    record[j] = nil
  end
else
  record = {commons = commons}
end
take(1, commons)
take(first, sizes[chosen + 1])
flush(by_key, now, frozen)
record.candidate, record.total, record.cap = chosen, total, cap
write_record(KEYS[1], record, keep)
for _, h in ipairs(record) do
  if h.amount > 0 and (h.kind == QUOTA or h.kind == LEASE) then
    redis.call('ZADD', KEYS[2], string.format('%.0f', deadline), id)
    redis.call('PEXPIRE', KEYS[2], string.format('%.0f', keep))
    break
  end
end

local out = {struct.pack('<ddddd', ADMITTED, now, chosen, total, cap)}
push(out, 1, commons)
push(out, first, sizes[chosen + 1])
return table.concat(out)
