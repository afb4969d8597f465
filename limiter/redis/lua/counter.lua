-- Code that all scripts share, prepended to each of them. It is the same arithmetic as in bucket.go,
-- quota.go and demand.go, in Lua's doubles, which are exact for integers up to 2^53: no amount is
-- above MAX, times are microseconds since 1970 (2^53 of them end in 2255), and products that may be
-- larger use mul_div. Replies and records are packed by Redis's struct library, little-endian.
--
-- A bucket is stored as level, fraction, last, amount, capacity and expires; a quota as used, reserved, start,
-- finish, seeded and expires; permits as expires, then the number, generation, permits taken and deadline of
-- each gate. expires is when the key expires. On a Cluster all keys have one hash tag, because records contain
-- keys that are not in KEYS.

-- Locals avoid two table lookups.
local call, pack, read = redis.call, struct.pack, struct.unpack
local fmod, floor, ceil, min, max = math.fmod, math.floor, math.ceil, math.min, math.max
local concat, format = table.concat, string.format

local MAX = 9000000000000000
local EXACT = 9007199254740992
local SECOND, DAY = 1000000, 86400000000
local ONE_TOKEN = 1000 -- the price of a token of output, in thousandths, where a unit counts tokens
local LONGEST = 8640000000000000 -- that a refusal says to wait for a rate, in nanoseconds: see bucket.go
local BUCKET, QUOTA, PERMIT, REAPED, GONE = 0, 1, 2, 3, 4

-- clock returns Redis's time, so that the clocks of the gates do not matter. Tests give another time.
local function clock(given)
  if given >= 0 then return given end
  local t = call('TIME')
  return t[1] * 1000000 + t[2]
end

-- mul_div returns (a*b + c) / d rounded down, and the remainder; a, b are not negative, 0 <= c < d. If
-- the product is not exact in a double, it uses long division, one bit of a at a time.
local function mul_div(a, b, c, d)
  local product = a * b + c
  if product < EXACT then
    local rest = fmod(product, d)
    return (product - rest) / d, rest
  end
  local part = fmod(b, d)
  local whole = a * ((b - part) / d)
  local q, r, bit = 0, 0, 1
  while bit <= a do bit = bit * 2 end
  while bit > 1 do
    bit = bit / 2
    q = q * 2
    if r >= d - r then q, r = q + 1, r - (d - r) else r = r + r end
    if a >= bit then
      a = a - bit
      if r >= d - part then q, r = q + 1, r - (d - part) else r = r + part end
    end
  end
  if r >= d - c then q, r = q + 1, r - (d - c) else r = r + c end
  return q + whole, r
end

-- text formats an integer, which is cheaper than letting Redis format it, all the more if it is used repeatedly.
local function text(n) return format('%.0f', n) end

local function clamp(n)
  if n < 0 then return 0 elseif n > MAX then return MAX end
  return n
end

-- fill adds the refill to a bucket. If time steps back, it adds nothing until time catches up; but if last
-- is more than a day ahead, last is assumed to be wrong, not now.
local function fill(c, now)
  if c.last > now + DAY then c.last = now end
  local elapsed = now - c.last
  if elapsed <= 0 then return end
  c.last = now
  if c.level >= c.capacity then return end
  -- A refill far above the capacity need not be exact, which is expensive for large amounts.
  if elapsed * c.amount > 2 * (c.capacity - c.level + 1) * c.window then
    c.level, c.fraction = c.capacity, 0
    return
  end
  local units, rest = mul_div(elapsed, c.amount, c.fraction, c.window)
  if c.level + units >= c.capacity then
    c.level, c.fraction = c.capacity, 0
  else
    c.level, c.fraction = c.level + units, rest
  end
end

local function trim(c)
  if c.level >= c.capacity then c.level, c.fraction = c.capacity, 0 end
end

-- bucket returns a bucket from its stored value; without one, a full bucket; nil if the value is damaged: NaN
-- is in no range. (Here and elsewhere, tables are created with all their fields at once, and at most 8: they grow by doubling.)
local function bucket(raw, window, amount, capacity, now)
  if not raw then
    return {kind = BUCKET, window = window, level = capacity, fraction = 0, last = now, amount = amount,
      capacity = capacity, expires = 0}
  end
  if #raw ~= 48 then return nil end
  local level, fraction, last, was, most, expires = read('<dddddd', raw)
  if not (level >= -MAX - 1 and level <= most and most <= MAX and was >= 1 and was <= MAX and
    fraction >= 0 and fraction <= window and last >= 0 and last <= EXACT) then return nil end
  local c = {kind = BUCKET, window = window, level = level, fraction = fraction, last = last, amount = was,
    capacity = most, expires = expires}
  fill(c, now)
  return c
end

-- read_quota returns a quota from its stored value; nil if the value is damaged.
local function read_quota(raw)
  if #raw ~= 48 then return nil end
  local used, reserved, start, finish, seeded, expires = read('<dddddd', raw)
  if not (used >= 0 and used <= MAX and reserved >= -EXACT and reserved <= EXACT and start >= 0 and
    finish >= start and finish <= EXACT) then return nil end
  return {kind = QUOTA, used = used, reserved = reserved, start = start, finish = finish, seeded = seeded,
    expires = expires}
end

-- permits returns the permits from their stored value, without those of gates whose deadline has passed; nil
-- if the value is damaged. A gate's generation is the time since which it has held permits without a lapse, so
-- that a permit that lapsed is not returned in place of another.
local function permits(raw, now)
  local c = {kind = PERMIT, taken = 0, gates = {}, size = 0, expires = 0}
  if not raw then return c end
  c.size = #raw
  if c.size % 32 ~= 8 then return nil end
  c.expires = read('<d', raw)
  for at = 9, c.size, 32 do
    local gate, generation, taken, deadline = read('<dddd', raw, at)
    if not (taken >= 0 and taken <= MAX and deadline >= 0 and deadline <= EXACT) then return nil end
    if deadline > now then
      c.gates[#c.gates + 1] = {gate = gate, generation = generation, taken = taken, deadline = deadline}
      c.taken = c.taken + taken
    end
  end
  return c
end

-- share returns what a gate holds of permits; with a generation, only if it is that one.
local function share(c, gate, generation)
  for i = 1, #c.gates do
    local s = c.gates[i]
    if s.gate == gate and (not generation or s.generation == generation) then return s end
  end
end

-- bounds returns the calendar window (1 a day, 2 a week, 3 a month, in UTC) that contains now. Months
-- follow H. Hinnant's "chrono-Compatible Low-Level Date Algorithms": years begin in March.
local function bounds(window, now)
  local day = floor(now / DAY)
  local first, length
  if window == 1 then
    first, length = day, 1
  elseif window == 2 then
    first, length = day - (day + 3) % 7, 7
  else
    local of_era = (day + 719468) % 146097
    local year = floor((of_era - floor(of_era / 1460) + floor(of_era / 36524) - floor(of_era / 146096)) / 365)
    local of_year = of_era - (365 * year + floor(year / 4) - floor(year / 100))
    local month = floor((5 * of_year + 2) / 153)
    local before = floor((153 * month + 2) / 5)
    first = day - (of_year - before)
    length = floor((153 * (month + 1) + 2) / 5) - before
    if month == 11 then -- February
      local civil = year + 1
      length = 28
      if civil % 4 == 0 and (civil % 100 ~= 0 or civil % 400 == 0) then length = 29 end
    end
  end
  return first * DAY, (first + length) * DAY
end

-- counters has the counters that a script has read, by key; fetched the values of more, which it has read in
-- one call; changed the counters to write.
local counters, fetched, changed = {}, {}, {}

-- write stores a counter until it equals a new one: a bucket until it is full, a quota until a day after its
-- window, because a clock that steps back by up to a day may return to the window, permits until they lapse.
-- If the key lives that long anyway, its value is overwritten, which is cheaper. keep, if not 0, is the time to
-- live in milliseconds instead.
local function write(key, c, now, keep)
  local kind, size, ends, value = c.kind, 48, now
  if kind == BUCKET then
    ends = (c.capacity - c.level) * c.window / c.amount + c.last + 1000
  elseif kind == QUOTA then
    ends = c.finish + DAY
  else
    size = 8 + 32 * #c.gates
    for _, s in ipairs(c.gates) do ends = max(ends, s.deadline + SECOND) end
  end
  local set = keep > 0 or c.expires < ends or kind == PERMIT and c.size ~= size
  if set and kind == QUOTA then
    c.expires = ends
  elseif set then
    c.expires = ends + max(ends - now, SECOND) -- not with each write
  end
  if kind == BUCKET then
    value = pack('<dddddd', c.level, c.fraction, c.last, c.amount, c.capacity, c.expires)
  elseif kind == QUOTA then
    value = pack('<dddddd', c.used, c.reserved, c.start, c.finish, c.seeded, c.expires)
  else
    value = pack('<d', c.expires)
    for i = 1, #c.gates do
      local s = c.gates[i]
      value = value .. pack('<dddd', s.gate, s.generation, s.taken, s.deadline)
    end
  end
  if set then
    call('PSETEX', key, text(keep > 0 and keep or max(min(ceil((c.expires - now) / 1000), 1e14), 1)), value)
  else
    call('SETRANGE', key, '0', value)
  end
end

local function flush(now, keep)
  for key, c in pairs(changed) do write(key, c, now, keep) end
end

-- return_to ends a reservation's hold of n on a counter, and charges used.
local function return_to(c, kind, n, mark, window, used, now)
  if kind == PERMIT then
    local s = share(c, window, mark)
    if s and s.taken > 0 then
      s.taken, c.taken = s.taken - 1, c.taken - 1
    end
  elseif kind == BUCKET then
    fill(c, now)
    local most = c.amount * floor(DAY / c.window)
    if most > MAX then most = MAX + 1 end
    c.level = max(c.level + n - used, -most)
    trim(c)
  elseif c.start == mark then
    if kind == REAPED then
      c.used = clamp(c.used - n + used)
    else
      c.reserved = c.reserved - n
      c.used = clamp(c.used + used)
    end
  end
end

-- The records of open reservations are in a hash, by id, and their deadlines in a sorted set, the index. A
-- record has what one reservation holds: candidate, total, cap, the number of holds that are not the
-- candidate's, 1 if it was reaped, the number of all holds; then kind, unit, amount, mark, window, limit,
-- capacity and key of each hold. A permit's mark is the generation, its window the number of its gate. An empty
-- record is that of a reservation which was given up before it was made. When the deadline has passed, a
-- quota's hold becomes REAPED and a permit's GONE: see reap.lua.
local HEAD, HOLD = '<dddddd', '<dddddddI4c0'

local function read_record(raw)
  local candidate, total, cap, commons, reaped, n, at = read(HEAD, raw)
  local record = {candidate = candidate, total = total, cap = cap, commons = commons, reaped = reaped}
  for i = 1, n do
    local kind, unit, amount, mark, window, limit, capacity, key, next = read(HOLD, raw, at)
    record[i] = {kind = kind, unit = unit, amount = amount, mark = mark, window = window, limit = limit,
      capacity = capacity, key = key}
    at = next
  end
  return record
end

local function pack_hold(kind, unit, amount, mark, window, limit, capacity, key)
  return pack(HOLD, kind, unit, amount, mark, window, limit, capacity, #key, key)
end

local function repack(h)
  return pack_hold(h.kind, h.unit, h.amount, h.mark, h.window, h.limit, h.capacity, h.key)
end

-- record_of returns a record of packed holds.
local function record_of(candidate, total, cap, commons, reaped, holds)
  return pack(HEAD, candidate, total, cap, commons, reaped, #holds) .. concat(holds)
end

-- changes reports whether ending a hold changes its counter.
local function changes(kind, amount, charge) return kind ~= GONE and (kind == QUOTA or amount ~= charge) end

-- settle_hold ends a hold, and charges charge. It does nothing if the counter is damaged, or a quota that is no
-- longer in Redis: its next seed will include the usage.
local function settle_hold(now, charge, kind, amount, mark, window, limit, capacity, key)
  if not changes(kind, amount, charge) then return end
  local c = counters[key]
  if c == nil then
    local raw = fetched[key]
    if raw == nil then raw = call('MGET', key)[1] end
    if kind == BUCKET then
      c = bucket(raw, window, limit, capacity, now)
    elseif kind == PERMIT then
      c = permits(raw, now)
    else
      c = raw and read_quota(raw)
    end
    counters[key] = c or false
  end
  if c then
    return_to(c, kind, amount, mark, window, charge, now)
    changed[key] = c
  end
end
