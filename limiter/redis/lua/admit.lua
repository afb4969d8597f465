-- Admits, peeks or moves: decides all limits of a request in one step, and several requests in sequence,
-- which share the counters that were read.
--
-- KEYS: the index of open reservations; then for each request the record of its reservation and its counters,
-- those of the request itself and then those of each candidate. ARGV: numbers for all requests, including the
-- charge of a failed attempt for each unit; then for each request the reservation's id and its numbers: eight
-- for the request, the number of counters of each candidate, and eleven for each counter.
--
-- Each reply begins with the outcome and the time. ADMITTED: candidate, total, cap; REFUSED: the counter that
-- refuses, need, room, wait in nanoseconds, reserved (1 or 0), too large (1 or 0), candidate. Then ADMITTED,
-- REFUSED and SEEN have room, mark and used of the request's counters and of the candidate's.
-- UNSEEDED: number and window start of the quotas that the gate must seed. GIVEN_UP: the reservation was
-- settled before it was made.

local RESERVE, PEEK, MOVE = 0, 1, 2
local ADMITTED, REFUSED, UNSEEDED, GIVEN_UP, SEEN = 0, 1, 2, 3, 4
local IN_FLIGHT = 1e9 -- when to retry what requests in flight hold, in nanoseconds

local given, lease, keep, frozen, requests, units = read('<dddddd', ARGV[1])
local now = clock(given)
local deadline = now + lease
local raw = call('MGET', unpack(KEYS))
local by_key = {} -- the counters
local open = {} -- scores and members for the index

-- The current request.
local first -- its record's place in KEYS, before the counters
local id, mode, total, cap, least, answers, commons, candidates, counters
local numbers, record, asks, unseeded
local HEAD, ASK = 8 * 8, 11 * 8

local function quota(raw, window)
  local c = raw and read_quota(raw) or
    {kind = QUOTA, used = 0, reserved = 0, start = 0, finish = 0, seeded = 0, amount = 0, dirty = false}
  -- A clock that steps back does not reopen a window that has ended, unless it steps back by more than a day.
  if now >= c.finish or now < c.start - DAY then
    c.start, c.finish = bounds(window, now)
    c.used, c.reserved, c.seeded = 0, 0, 0
  end
  return c
end

-- load returns a counter with the limit's current amounts, which a reload may have changed. For a bucket,
-- changed amounts are stored even if nothing is taken.
local function load(i, kind, window, amount, capacity)
  local key = KEYS[first + i]
  local c = by_key[key]
  if not c then
    if kind == BUCKET then
      c = bucket(raw[first + i], window, amount, capacity, now)
    elseif kind == QUOTA then
      c = quota(raw[first + i], window)
    else
      c = {kind = PERMIT, amount = 0, taken = call('ZCOUNT', key, now + 1, '+inf'), mine = false, joined = false}
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

-- look returns the request's numbers for its counter i, and the counter.
local function look(i)
  local a = asks[i]
  if a then return a, a.c end
  local kind, window, amount, capacity, base, most, clip, price, unit, seed, since =
    read('<ddddddddddd', numbers, HEAD + 8 * candidates + (i - 1) * ASK + 1)
  local c = load(i, kind, window, amount, capacity)
  if kind == QUOTA and c.seeded == 0 then
    if since < 0 then -- nobody knows of an earlier use
      c.seeded = 1
    elseif seed >= 0 and since == c.start then
      c.used, c.seeded, c.dirty = clamp(c.used + seed), 1, true
    else
      unseeded[#unseeded + 1] = pack('<dd', i - 1, c.start)
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

-- failed_charge returns the charge for a candidate's hold that a move releases.
local function failed_charge(h)
  if h.unit >= units then return h.amount end
  return (read('<d', ARGV[1], 49 + 8 * h.unit))
end

-- room_beside returns the room of counter i, plus what the candidate that a move releases will return.
local function room_beside(i)
  local a, c = look(i)
  local free = room(a, c)
  if mode == MOVE and record then
    for j = record.commons + 1, #record do
      local h = record[j]
      if h.key == KEYS[first + i] and (c.kind == PERMIT and c.mine or c.kind == BUCKET or
        c.kind == QUOTA and h.kind == QUOTA and h.mark == c.start) then
        return min(free + h.amount - failed_charge(h), c.kind == BUCKET and c.capacity or a.amount)
      end
    end
  end
  return free
end

-- need and lower are the same as in demand.go.
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
  cap = (most - fmod(most, answers)) / answers
  total = cap * answers
end

-- fill_time returns the nanoseconds until a bucket has n, rounded up.
local function fill_time(c, n)
  local missing, window = n - c.level, c.window * 1000
  if missing * window > 2 * LONGEST * c.amount then return LONGEST end
  -- (missing * window - fraction * 1000 + amount - 1) / amount, with a rest below the amount
  local above = window - c.fraction * 1000 + c.amount - 1
  local rest = fmod(above, c.amount)
  local ns = mul_div(missing - 1, window, rest, c.amount) + (above - rest) / c.amount
  return min(ns, LONGEST)
end

-- refusal returns the verdict of counter i, which does not have room for what is needed.
local function refusal(i, a, c, needed, free)
  local v = {rule = i - 1, need = needed, room = free, wait = 0, reserved = 0, large = 0}
  if needed > (c.kind == BUCKET and c.capacity or a.amount) then
    v.large = 1
  elseif c.kind == BUCKET then
    v.wait = fill_time(c, needed)
  elseif c.kind == PERMIT then
    v.wait = IN_FLIGHT
  elseif needed <= a.amount - c.used then
    v.wait, v.reserved = IN_FLIGHT, 1
  else
    v.wait = (c.finish - now) * 1000
  end
  return v
end

-- later reports whether verdict v blocks the request for longer than w; nil means that there is room.
local function later(v, w)
  if not v or not w then return v ~= nil end
  if v.large ~= w.large then return v.large == 1 end
  return v.large == 0 and v.wait > w.wait
end

-- judge lowers the cap to what n counters have left, and returns the verdict of the one that has room last;
-- nil if all have room. A request that takes nothing passes despite a debt.
local function judge(from, n)
  local worst
  for i = from, from + n - 1 do
    local a, c = look(i)
    if c.kind == QUOTA then lower(i, a) end
  end
  for i = from, from + n - 1 do
    local a, c = look(i)
    local output = total
    if c.kind == QUOTA and least < output then output = least end
    local needed = need(a, output)
    if needed > 0 then
      local free = room_beside(i)
      if needed > free then
        local v = refusal(i, a, c, needed, free)
        if later(v, worst) then worst = v end
      end
    end
  end
  return worst
end

local function push(out, from, n)
  for i = from, from + n - 1 do
    local a, c = look(i)
    if c.kind == BUCKET then
      out[#out + 1] = pack('<ddd', c.level, c.fraction, 0)
    elseif c.kind == QUOTA then
      out[#out + 1] = pack('<ddd', a.amount - c.used - c.reserved, c.start, c.used)
    else
      out[#out + 1] = pack('<ddd', a.amount - c.taken, 0, 0)
    end
  end
end

-- answer returns a reply with the states of the request's counters and of a candidate's.
local function answer(head, from, n)
  local out = {head}
  push(out, 1, commons)
  push(out, from, n)
  return table.concat(out)
end

local function admitted(chosen, from, n)
  return answer(pack('<ddddd', ADMITTED, now, chosen, total, cap), from, n)
end

local function must_seed() return pack('<dd', UNSEEDED, now) .. table.concat(unseeded) end

-- take takes what the request needs of counters, and adds it to the record's holds. It reports whether any of
-- them ends at the deadline.
local function take(holds, from, n)
  local expires = false
  for i = from, from + n - 1 do
    local a, c = look(i)
    local amount, window, mark, capacity = need(a, total), 0, 0, a.amount
    if c.kind == BUCKET then
      window, capacity = c.window, c.capacity
      if amount > 0 then c.level, c.dirty = c.level - amount, true end
    elseif c.kind == QUOTA then
      mark = c.start
      c.reserved, c.dirty = c.reserved + amount, true -- also of nothing: it is settled later
      expires = expires or amount > 0
    else
      if not c.joined then c.joined = {} end
      c.joined[#c.joined + 1] = deadline
      c.joined[#c.joined + 1] = id
      c.taken, expires = c.taken + 1, true
    end
    holds[#holds + 1] = pack_hold(c.kind, a.unit, amount, mark, window, a.amount, capacity, KEYS[first + i])
  end
  return expires
end

-- own_permits marks the permits that the reservation holds and that have not expired: a move returns only those.
local function own_permits()
  for i = 1, counters do
    local _, c = look(i)
    if c.kind == PERMIT then
      local score = call('ZSCORE', KEYS[first + i], id)
      c.mine = score and tonumber(score) > now
    end
  end
end

-- give_up ends a hold of a candidate that failed. Its request stays counted.
local function give_up(h)
  if h.kind == PERMIT then
    local freed, c = call('ZREM', h.key, id), by_key[h.key]
    if c and c.mine then c.taken = c.taken - freed end
  elseif h.kind ~= GONE then
    settle_hold(by_key, now, failed_charge(h), h.kind, h.amount, h.mark, h.window, h.limit, h.capacity, h.key)
  end
end

local function size(candidate)
  return (read('<d', numbers, HEAD + 8 * (candidate - 1) + 1))
end

-- repeated answers a repeated call, whose first reply was lost.
local function repeated()
  local from, n = commons + 1, 0
  for i = 1, record.candidate do from = from + size(i) end
  if record.candidate < candidates then n = size(record.candidate + 1) end
  if #record ~= commons + n then return pack('<dd', GIVEN_UP, now) end
  total, cap = record.total, record.cap
  return admitted(record.candidate, from, n)
end

-- keep_or_give_up copies the holds that a move keeps from the record into holds, and ends those of its
-- candidate. It returns how many it keeps, and whether any of them ends at the deadline.
local function keep_or_give_up(holds)
  local expires = false
  for j, h in ipairs(record) do
    if j <= record.commons then
      holds[j] = repack(h)
      expires = expires or h.kind == QUOTA or h.kind == PERMIT
    else
      give_up(h)
    end
  end
  return record.commons, expires
end

-- reserve reserves or moves, like admission.admit in package memory: for the first candidate with room. Else it
-- answers with the verdict of the rule that has room last; of the candidates, the one that has room first.
local function reserve()
  if mode == MOVE then own_permits() elseif record then return repeated() end

  local worst = judge(1, commons)
  local chosen, best = -1
  local from, n, at = commons + 1, 0, 0 -- of the candidate that is chosen, or frees first
  local next_from, after_total, after_cap = from, total, cap
  if candidates == 0 then chosen = 0 end
  for i = 1, candidates do
    local many = size(i)
    total, cap = after_total, after_cap
    local v = judge(next_from, many)
    if not v or i == 1 or later(best, v) then best, from, n, at = v, next_from, many, i - 1 end
    if not v then
      chosen = at
      break
    end
    next_from = next_from + many
  end
  if #unseeded > 0 then return must_seed() end
  if later(best, worst) then worst = best end
  if worst then
    return answer(pack('<ddddddddd', REFUSED, now, worst.rule, worst.need, worst.room, worst.wait,
      worst.reserved, worst.large, at), from, n)
  end

  local holds, kept, expires = {}, commons, false
  if mode == MOVE and record then kept, expires = keep_or_give_up(holds) end
  expires = take(holds, 1, commons) or expires
  expires = take(holds, from, n) or expires
  write_record(KEYS[first], chosen, total, cap, kept, holds, keep)
  if expires then
    open[#open + 1] = deadline
    open[#open + 1] = id
  end
  return admitted(chosen, from, n)
end

local function decide()
  record, asks, unseeded = nil, {}, {}
  if mode == PEEK then
    local seen = answer(pack('<dd', SEEN, now), 1, 0)
    if #unseeded > 0 then return must_seed() end
    return seen
  end
  local value = raw[first]
  if value then
    if value == '' then return pack('<dd', GIVEN_UP, now) end
    record = read_record(value)
  end
  return reserve()
end

local replies = {}
first = 2
for i = 1, requests do
  id, numbers = ARGV[2 * i], ARGV[2 * i + 1]
  mode, total, cap, least, answers, commons, candidates, counters = read('<dddddddd', numbers)
  replies[i] = decide()
  first = first + 1 + counters
end

flush(by_key, now, frozen)
for key, c in pairs(by_key) do
  if c and c.joined then
    call('ZADD', key, unpack(c.joined))
    call('PEXPIRE', key, max(lease / 1000 + 1000, frozen))
  end
end
if #open > 0 then
  call('ZADD', KEYS[1], unpack(open))
  call('PEXPIRE', KEYS[1], keep)
end
return replies
