-- Admits, peeks or moves: decides all limits of a request in one step, and several requests in sequence,
-- which share the counters that were read.
--
-- KEYS: the index and the records; then for each request its counters, those of the request itself and then
-- those of each candidate. ARGV: numbers; then the id of each request's reservation. The numbers are seven for
-- all requests and the charge of a failed attempt for each unit; then for each request eight, the number of
-- counters of each candidate, and twelve for each counter.
--
-- The reply has the time, and then for each request its outcome. ADMITTED: candidate, total, cap; REFUSED: the
-- counter that refuses, need, room, wait in nanoseconds, reserved (1 or 0), too large (1 or 0), candidate. Then
-- ADMITTED, REFUSED and SEEN have the states of the request's counters and of the candidate's: level and fraction
-- of a bucket; room, start and used of a quota; room of permits.
-- UNSEEDED: how many quotas the gate must seed, number and window start of each. GIVEN_UP: the reservation was
-- settled before it was made. DAMAGED: the counter whose value is damaged.

local RESERVE, PEEK, MOVE = 0, 1, 2
local ADMITTED, REFUSED, UNSEEDED, GIVEN_UP, SEEN, DAMAGED = 0, 1, 2, 3, 4, 5
local IN_FLIGHT = 1e9 -- when to retry what requests in flight hold, in nanoseconds

local numbers = ARGV[1]
local given, lease, keep, frozen, gate, requests, units = read('<ddddddd', numbers)
local CHARGES = 57 -- where the charges begin in numbers
local at = CHARGES + 8 * units -- where the current request's numbers begin
local now = clock(given)
local deadline = now + lease
local score = text(deadline) -- of new reservations
local raw = #KEYS > 2 and call('MGET', unpack(KEYS, 3)) or {}
local records = {} -- by id
for i, value in ipairs(call('HMGET', KEYS[2], unpack(ARGV, 2))) do records[ARGV[i + 1]] = value end
local out, pieces = {pack('<d', now)}, 1 -- the reply
local open, saved = {}, {} -- scores and ids for the index; ids and records

-- The current request.
local first = 2 -- the place in KEYS before its counters
local id, mode, asked, total, cap, least, answers, commons, candidates, count
local record, asks, unseeded, damaged
local HEAD_SIZE, ASK_SIZE = 8 * 8, 12 * 8

local function quota(raw, window)
  local c
  if raw then
    c = read_quota(raw)
  else
    c = {kind = QUOTA, used = 0, reserved = 0, start = 0, finish = 0, seeded = 0, expires = 0}
  end
  -- A clock that steps back does not reopen a window that has ended, unless it steps back by more than a day.
  if c and (now >= c.finish or now < c.start - DAY) then
    c.start, c.finish = bounds(window, now)
    c.used, c.reserved, c.seeded = 0, 0, 0
  end
  return c
end

-- load returns a counter that was not used yet; nil if it is damaged.
local function load(value, kind, window, amount, capacity)
  if kind == BUCKET then return bucket(value, window, amount, capacity, now) end
  if kind == QUOTA then return quota(value, window) end
  return permits(value, now)
end

-- where returns the place of the numbers for the request's counter i.
local function where(i) return at + HEAD_SIZE + 8 * candidates + (i - 1) * ASK_SIZE end

-- need returns what the request takes of counter i if its answers have no more than output tokens. need and
-- lower are the same as in demand.go.
local function need(i, output)
  local base, most, clip, price = read('<dddd', numbers, where(i) + 64)
  local n = most
  if output < n then n = output end
  if price ~= ONE_TOKEN then n = mul_div(n, price, 999, 1000) end
  n = n + base
  if n > clip then return clip end
  return n
end

-- look reads the request's numbers for its counter i, and returns them with the counter. A bucket gets the
-- limit's current amounts, which a reload may have changed: then they are stored even if nothing is taken.
local function look(i)
  local kind, window, amount, capacity, needed, unit, seed, since = read('<dddddddd', numbers, where(i))
  local key = KEYS[first + i]
  local c = counters[key]
  if not c then
    c = load(raw[first + i - 2], kind, window, amount, capacity)
    if c then
      counters[key] = c
    else -- an empty one instead, from which nothing is taken
      damaged, c = i - 1, load(nil, kind, window, amount, capacity)
    end
  end
  if kind == BUCKET then
    if c.amount ~= amount or c.capacity ~= capacity then
      c.amount, c.capacity, changed[key] = amount, capacity, c
      trim(c)
    end
  elseif kind == QUOTA and c.seeded == 0 then
    if since < 0 then -- nobody knows of an earlier use
      c.seeded = 1
    elseif seed >= 0 and since == c.start then
      c.used, c.seeded, changed[key] = clamp(c.used + seed), 1, c
    else
      unseeded[#unseeded + 1] = pack('<dd', i - 1, c.start)
    end
  end
  if total ~= asked then needed = need(i, total) end
  local a = {c = c, amount = amount, needed = needed, unit = unit}
  asks[i] = a
  return a
end

local function room(a, c)
  local kind = c.kind
  if kind == BUCKET then return c.level end
  if kind == QUOTA then return a.amount - c.used - c.reserved end
  return a.amount - c.taken
end

-- failed_charge returns the charge for a candidate's hold that a move releases.
local function failed_charge(h)
  if h.unit >= units then return h.amount end
  return (read('<d', numbers, CHARGES + 8 * h.unit))
end

-- returns reports whether ending hold h returns something to counter c.
local function returns(h, c)
  if c.kind == PERMIT then return h.kind == PERMIT and share(c, h.window, h.mark) ~= nil end
  return c.kind == BUCKET or h.kind == QUOTA and h.mark == c.start
end

-- released returns the room of counter i with what the candidate that a move releases will return.
local function released(i, a, free)
  local c = a.c
  for j = record.commons + 1, #record do
    local h = record[j]
    if h.key == KEYS[first + i] and returns(h, c) then
      return min(free + h.amount - failed_charge(h), c.kind == BUCKET and c.capacity or a.amount)
    end
  end
  return free
end

-- lower lowers the cap to what a quota has left.
local function lower(i, free)
  local base, _, _, price = read('<dddd', numbers, where(i) + 64)
  local most = free - base
  if price ~= ONE_TOKEN then most = mul_div(most, 1000, 0, price) end
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
  local before, worst = total
  for i = from, from + n - 1 do
    local a = asks[i] or look(i)
    local c, needed = a.c, a.needed
    local free = room(a, c)
    if needed > free and needed > 0 then
      if mode == MOVE and record then free = released(i, a, free) end
      if c.kind == QUOTA and needed > free then
        if total ~= before then needed = need(i, total) end
        if needed > free then needed = need(i, min(least, total)) end
        if needed <= free and need(i, total) > free then lower(i, free) end
      end
      if needed > free and needed > 0 then
        local v = refusal(i, a, c, needed, free)
        if later(v, worst) then worst = v end
      end
    end
  end
  if total == before then return worst end
  for i = from, from + n - 1 do asks[i].needed = need(i, total) end
  return judge(from, n)
end

-- push adds the states of n counters to the reply.
local function push(from, n)
  for i = from, from + n - 1 do
    local a = asks[i] or look(i)
    local c = a.c
    local kind = c.kind
    pieces = pieces + 1
    if kind == BUCKET then
      out[pieces] = pack('<dd', c.level, c.fraction)
    elseif kind == QUOTA then
      out[pieces] = pack('<ddd', a.amount - c.used - c.reserved, c.start, c.used)
    else
      out[pieces] = pack('<d', a.amount - c.taken)
    end
  end
end

local function reply(...)
  pieces = pieces + 1
  out[pieces] = pack(...)
end

-- admitted replies with the chosen candidate and the states of the request's counters and the candidate's.
local function admitted(chosen, from, n)
  reply('<dddd', ADMITTED, chosen, total, cap)
  push(1, commons)
  push(from, n)
end

-- undecided replies with what prevents a decision. It reports whether anything does.
local function undecided()
  if damaged then
    reply('<dd', DAMAGED, damaged)
  elseif #unseeded > 0 then
    reply('<dd', UNSEEDED, #unseeded)
    for _, q in ipairs(unseeded) do
      pieces = pieces + 1
      out[pieces] = q
    end
  end
  return damaged or #unseeded > 0
end

-- take_permit takes a permit for this gate, and returns the generation.
local function take_permit(c)
  local s = share(c, gate)
  if not s then
    s = {gate = gate, generation = now, taken = 0, deadline = 0}
    c.gates[#c.gates + 1] = s
  end
  s.taken, s.deadline, c.taken = s.taken + 1, deadline, c.taken + 1
  return s.generation
end

-- take takes what the request needs of counters, and adds it to the record's holds.
local function take(holds, from, n)
  for i = from, from + n - 1 do
    local a, key = asks[i], KEYS[first + i]
    local c = a.c
    local kind, amount, window, mark, capacity = c.kind, a.needed, 0, 0, a.amount
    if kind == BUCKET then
      window, capacity, c.level = c.window, c.capacity, c.level - amount
    elseif kind == QUOTA then
      mark, c.reserved = c.start, c.reserved + amount
    else
      window, mark = gate, take_permit(c)
    end
    if amount > 0 or kind == QUOTA then changed[key] = c end -- a quota also for nothing: it is settled later
    holds[#holds + 1] = pack_hold(kind, a.unit, amount, mark, window, a.amount, capacity, key)
  end
end

local function size(candidate)
  return (read('<d', numbers, at + HEAD_SIZE + 8 * (candidate - 1)))
end

local function given_up() reply('<d', GIVEN_UP) end

-- repeated answers a repeated call, whose first reply was lost.
local function repeated()
  local from, n = commons + 1, 0
  for i = 1, record.candidate do from = from + size(i) end
  if record.candidate < candidates then n = size(record.candidate + 1) end
  if #record ~= commons + n then return given_up() end
  total, cap = record.total, record.cap
  admitted(record.candidate, from, n)
end

-- release copies the holds that a move keeps from the record into holds, and ends those of its candidate, which
-- failed. Its request stays counted.
local function release(holds)
  for j, h in ipairs(record) do
    if j <= record.commons then
      holds[j] = repack(h)
    else
      settle_hold(now, failed_charge(h), h.kind, h.amount, h.mark, h.window, h.limit, h.capacity, h.key)
    end
  end
  return record.commons
end

-- reserve reserves or moves, like admission.admit in package memory: for the first candidate with room. Else it
-- replies with the verdict of the rule that has room last; of the candidates, the one that has room first.
local function reserve()
  local worst = judge(1, commons)
  local chosen, best = -1
  local from, n, place = commons + 1, 0, 0 -- of the candidate that is chosen, or frees first
  local next_from, after_total, after_cap = from, total, cap
  if candidates == 0 then chosen = 0 end
  for i = 1, candidates do
    local many = size(i)
    total, cap = after_total, after_cap
    local v = judge(next_from, many)
    if not v or i == 1 or later(best, v) then best, from, n, place = v, next_from, many, i - 1 end
    if not v then
      chosen = place
      break
    end
    next_from = next_from + many
  end
  if undecided() then return end
  if later(best, worst) then worst = best end
  if worst then
    reply('<dddddddd', REFUSED, worst.rule, worst.need, worst.room, worst.wait, worst.reserved, worst.large, place)
    push(1, commons)
    return push(from, n)
  end

  if total ~= after_total then
    for i = 1, commons do asks[i].needed = need(i, total) end
  end
  local holds, kept = {}, commons
  if mode == MOVE and record then kept = release(holds) end
  take(holds, 1, commons)
  take(holds, from, n)
  local value = record_of(chosen, total, cap, kept, 0, holds)
  records[id] = value
  saved[#saved + 1], saved[#saved + 2] = id, value
  open[#open + 1], open[#open + 2] = score, id
  admitted(chosen, from, n)
end

local function peek()
  for i = 1, commons do look(i) end
  if undecided() then return end
  reply('<d', SEEN)
  push(1, commons)
end

local function decide()
  record, asks, unseeded, damaged = nil, {}, {}, nil
  if mode == PEEK then return peek() end
  local value = records[id]
  if value == '' then return given_up() end
  if value then record = read_record(value) end
  if record and mode == RESERVE then return repeated() end
  reserve()
end

for i = 1, requests do
  id = ARGV[i + 1]
  mode, asked, cap, least, answers, commons, candidates, count = read('<dddddddd', numbers, at)
  total = asked
  decide()
  first = first + count
  at = at + HEAD_SIZE + 8 * candidates + ASK_SIZE * count
end

flush(now, frozen)
if #saved > 0 then
  call('HSET', KEYS[2], unpack(saved))
  call('ZADD', KEYS[1], unpack(open))
  local ttl = text(keep)
  call('PEXPIRE', KEYS[1], ttl)
  call('PEXPIRE', KEYS[2], ttl)
end
return concat(out)
