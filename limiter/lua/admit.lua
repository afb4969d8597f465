-- Admits, peeks, moves or shrinks: all limits of a request on this node in one step, and several
-- requests one after the other, which share the counters that were read.
--
-- KEYS: the index of open reservations; then of each request the record of its reservation and the
-- counters, those of the request itself and those of each candidate. ARGV: numbers for all requests;
-- then of each request the reservation's id, its numbers, the numbers of each counter, and how many
-- counters each candidate has. What a failed attempt is charged of each unit follows the numbers for all.
--
-- The replies begin with what came of it and the time. ADMITTED: candidate, total, cap, and of the
-- counters that were taken room, mark and used, after it. REFUSED: room, mark and used of all
-- counters, from which the gate tells who refused, and of PEEK too. UNSEEDED: number and start of
-- quotas for which the gate must ask. GIVEN_UP: the reservation was settled before it was made.

local RESERVE, PEEK, MOVE, SHRINK = 0, 1, 2, 3
local ADMITTED, REFUSED, UNSEEDED, GIVEN_UP = 0, 1, 2, 3

local given, lease, keep, frozen, requests, units = struct.unpack('<dddddd', ARGV[1])
local now = clock(given)
local deadline = now + lease
local raw = redis.call('MGET', unpack(KEYS))
local by_key = {} -- the counters
local open = {} -- scores and members for the index

-- The request that is looked at.
local first -- its record's place in KEYS, before the counters
local id, mode, total, cap, least, answers, commons, candidates, counters
local numbers, record, asks, unseeded
local ASK = 11 * 8

local function quota(raw, window)
  local c = raw and read_quota(raw) or
    {kind = QUOTA, used = 0, reserved = 0, start = 0, finish = 0, seeded = 0, amount = 0, dirty = false}
  -- A window that has ended is not opened again by a clock that steps back, but for more than a day.
  if now >= c.finish or now < c.start - DAY then
    c.start, c.finish = bounds(window, now)
    c.used, c.reserved, c.seeded = 0, 0, 0
  end
  return c
end

-- load reads a counter, with the limit as it is now: a reload may have changed it, which is stored of
-- a bucket also for who takes nothing.
local function load(i, kind, window, amount, capacity)
  local key = KEYS[first + i]
  local c = by_key[key]
  if not c then
    if kind == BUCKET then
      c = bucket(raw[first + i], window, amount, capacity, now)
    elseif kind == QUOTA then
      c = quota(raw[first + i], window)
    else
      c = {kind = LEASE, amount = 0, taken = redis.call('ZCOUNT', key, now + 1, '+inf'), mine = false, joined = false}
    end
    by_key[key] = c
  end
  if kind ~= BUCKET then
    c.amount = amount
  elseif c.amount ~= amount or c.capacity ~= capacity then
    c.amount, c.capacity, c.dirty = amount, capacity, true
    trim(c)
  end
  return c
end

-- look returns what the request asks of its counter i, and the counter.
local function look(i)
  local a = asks[i]
  if a then return a, a.c end
  local kind, window, amount, capacity, base, most, clip, price, unit, seed, since =
    struct.unpack('<ddddddddddd', numbers, (i - 1) * ASK + 1)
  local c = load(i, kind, window, amount, capacity)
  if kind == QUOTA and c.seeded == 0 then
    if since < 0 then -- nobody knows of an earlier use
      c.seeded = 1
    elseif seed >= 0 and since == c.start then
      c.used, c.seeded, c.dirty = clamp(c.used + seed), 1, true
    else
      unseeded[#unseeded + 1] = struct.pack('<dd', i - 1, c.start)
    end
  end
  a = {c = c, amount = amount, base = base, most = most, clip = clip, price = price, unit = unit}
  asks[i] = a
  return a, c
end

local function room(a, c)
  if c.kind == BUCKET then return c.level end
  if c.kind == QUOTA then return a.amount - c.used - c.reserved end
  return a.amount - c.taken
end

-- failed_charge is what a candidate is charged for a hold that is given up by a move.
local function failed_charge(h)
  if h.unit >= units then return h.amount end
  return (struct.unpack('<d', ARGV[1], 49 + 8 * h.unit))
end

-- room_beside counts what the candidate that is given up by a move will give back.
local function room_beside(i)
  local a, c = look(i)
  local free = room(a, c)
  if mode == MOVE and record then
    for j = record.commons + 1, #record do
      local h = record[j]
      if h.key == KEYS[first + i] and (c.kind == LEASE and c.mine or c.kind == BUCKET or
        c.kind == QUOTA and h.kind == QUOTA and h.mark == c.start) then
        return math.min(free + h.amount - failed_charge(h), c.kind == BUCKET and c.capacity or a.amount)
      end
    end
  end
  return free
end

-- need, lower and fits are those of demand.go and admit.go.
local function need(a, output)
  local n = a.most
  if output < n then n = output end
  if a.price ~= ONE_TOKEN then n = mul_div(n, a.price, 999, 1000) end
  n = n + a.base
  if n > a.clip then return a.clip end
  return n
end

local function lower(i, a)
  local free = room_beside(i)
  if need(a, total) <= free or need(a, least) > free then return end
  local most = free - a.base
  if a.price ~= ONE_TOKEN then most = mul_div(most, 1000, 0, a.price) end
  cap = (most - math.fmod(most, answers)) / answers
  total = cap * answers
end

local function fits(from, n)
  for i = from, from + n - 1 do
    local a, c = look(i)
    if c.kind == QUOTA then lower(i, a) end
  end
  local all = true
  for i = from, from + n - 1 do
    local a, c = look(i)
    local output = total
    if c.kind == QUOTA and least < output then output = least end
    local n = need(a, output)
    if n > 0 and n > room_beside(i) then all = false end
  end
  return all
end

local function push(out, from, n)
  for i = from, from + n - 1 do
    local a, c = look(i)
    if c.kind == BUCKET then
      out[#out + 1] = struct.pack('<ddd', c.level, c.fraction, 0)
    elseif c.kind == QUOTA then
      out[#out + 1] = struct.pack('<ddd', a.amount - c.used - c.reserved, c.start, c.used)
    else
      out[#out + 1] = struct.pack('<ddd', a.amount - c.taken, 0, 0)
    end
  end
end

-- finish answers without having taken anything.
local function finish()
  local out = {struct.pack('<dd', REFUSED, now)}
  push(out, 1, counters)
  if #unseeded > 0 then return struct.pack('<dd', UNSEEDED, now) .. table.concat(unseeded) end
  return table.concat(out)
end

local function admitted(chosen, from, n)
  local out = {struct.pack('<ddddd', ADMITTED, now, chosen, total, cap)}
  push(out, 1, commons)
  push(out, from, n)
  return table.concat(out)
end

-- take takes what the request needs of counters, and notes it among the holds of the record. It
-- returns whether that includes what ends at the deadline.
local function take(holds, from, n)
  local lapses = false
  for i = from, from + n - 1 do
    local a, c = look(i)
    local amount, window, mark, capacity = need(a, total), 0, 0, a.amount
    if c.kind == BUCKET then
      window, capacity = c.window, c.capacity
      if amount > 0 then
        c.level, c.dirty = c.level - amount, true
      end
    elseif c.kind == QUOTA then
      mark = c.start
      c.reserved, c.dirty = c.reserved + amount, true -- also of nothing: it is settled later
      lapses = lapses or amount > 0
    else
      if not c.joined then c.joined = {} end
      c.joined[#c.joined + 1] = deadline
      c.joined[#c.joined + 1] = id
      c.taken, lapses = c.taken + 1, true
    end
    holds[#holds + 1] = pack_hold(c.kind, a.unit, amount, mark, window, a.amount, capacity, KEYS[first + i])
  end
  return lapses
end

-- shrink gives back what was taken for more output than another node has left.
local function shrink()
  if not record then return finish() end
  local holds = {}
  for i = 1, #record do
    local h = record[i]
    if i <= commons then
      local a, c = look(i)
      local n = need(a, total)
      if h.amount > n then
        return_to(c, h.kind, h.amount - n, h.mark, 0, now)
        h.amount, c.dirty = n, true
      end
    end
    holds[i] = repack(h)
  end
  write_record(KEYS[first], 0, total, cap, commons, holds, keep)
  return admitted(0, commons + 1, 0)
end

-- own_leases notes which leases are the reservation's own and live: only those come back by a move.
local function own_leases()
  for i = 1, counters do
    local _, c = look(i)
    if c.kind == LEASE then
      local score = redis.call('ZSCORE', KEYS[first + i], id)
      c.mine = score and tonumber(score) > now
    end
  end
end

-- give_up gives back what a candidate has that failed: its request counts.
local function give_up(h)
  if h.kind == LEASE then
    local freed, c = redis.call('ZREM', h.key, id), by_key[h.key]
    if c and c.mine then c.taken = c.taken - freed end
  elseif h.kind ~= GONE then
    settle_hold(by_key, now, failed_charge(h), h.kind, h.amount, h.mark, h.window, h.limit,
      h.capacity, h.key)
  end
end

-- reserve reserves or moves.
local function reserve(sizes)
  local chosen, from = -1, commons + 1
  if mode ~= MOVE and record then -- the same call again: its answer was lost
    chosen, total, cap = record.candidate, record.total, record.cap
    for i = 1, chosen do from = from + sizes[i] end
    local n = sizes[chosen + 1] or -1
    if #record ~= commons + n then return struct.pack('<dd', GIVEN_UP, now) end
    return admitted(chosen, from, n)
  end
  if mode == MOVE then own_leases() end

  local ok = fits(1, commons)
  local after_total, after_cap = total, cap
  for i = 1, candidates do
    total, cap = after_total, after_cap
    if fits(from, sizes[i]) then
      chosen = i - 1
      break
    end
    from = from + sizes[i]
  end
  if candidates == 0 then chosen = 0 end
  if not ok or chosen < 0 or #unseeded > 0 then return finish() end

  local holds, kept, lapses = {}, commons, false
  if mode == MOVE and record then
    kept = record.commons
    for j = 1, #record do
      local h = record[j]
      if j <= kept then
        holds[j] = repack(h)
        lapses = lapses or h.kind == QUOTA or h.kind == LEASE
      else
        give_up(h)
      end
    end
  end
  lapses = take(holds, 1, commons) or lapses
  lapses = take(holds, from, sizes[chosen + 1]) or lapses
  write_record(KEYS[first], chosen, total, cap, kept, holds, keep)
  if lapses then
    open[#open + 1] = deadline
    open[#open + 1] = id
  end
  return admitted(chosen, from, sizes[chosen + 1])
end

local function decide(sizes)
  record, asks, unseeded = nil, {}, {}
  if mode == PEEK then return finish() end
  local value = raw[first]
  if value then
    if value == '' then return struct.pack('<dd', GIVEN_UP, now) end
    record = read_record(value)
  end
  if mode == SHRINK then return shrink() end
  if candidates == 0 then
    sizes = {0}
  else
    sizes = {struct.unpack('<' .. string.rep('d', candidates), sizes)}
  end
  return reserve(sizes)
end

local replies = {}
first = 2
for i = 1, requests do
  local arg = 4 * i - 2
  id, numbers = ARGV[arg], ARGV[arg + 2]
  mode, total, cap, least, answers, commons, candidates, counters = struct.unpack('<dddddddd', ARGV[arg + 1])
  replies[i] = decide(ARGV[arg + 3])
  first = first + 1 + counters
end

flush(by_key, now, frozen)
for key, c in pairs(by_key) do
  if c and c.joined then
    redis.call('ZADD', key, unpack(c.joined))
    redis.call('PEXPIRE', key, math.max(lease / 1000 + 1000, frozen))
  end
end
if #open > 0 then
  redis.call('ZADD', KEYS[1], unpack(open))
  redis.call('PEXPIRE', KEYS[1], keep)
end
return replies
