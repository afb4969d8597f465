-- Code that all scripts share, prepended to each of them. It is the same arithmetic as in bucket.go,
-- quota.go and demand.go, in Lua's doubles, which are exact for integers up to 2^53: no amount is
-- above MAX, times are microseconds since 1970 (2^53 of them end in 2255), and products that may be
-- larger use mul_div. Replies and records are packed by Redis's struct library, little-endian.
--
-- A bucket is stored as level, fraction, last, amount and capacity; a quota as used, reserved, start,
-- finish and seeded; a permit is a member of a sorted set, whose score is its deadline. On a Cluster all
-- keys have one hash tag, because records contain keys that are not in KEYS.

-- Locals avoid two table lookups.
local call, pack, read = redis.call, struct.pack, struct.unpack
local fmod, floor, min, max = math.fmod, math.floor, math.min, math.max

local MAX = 9000000000000000
local EXACT = 9007199254740992
local DAY = 86400000000
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

-- bucket returns a bucket from its stored value; without one, a full bucket. (Here and elsewhere, tables are
-- created with all their fields at once, and at most 8: creating them costs most, and they grow by doubling.)
local function bucket(raw, window, amount, capacity, now)
  if not raw then
    return {kind = BUCKET, window = window, level = capacity, fraction = 0, last = now, amount = amount,
      capacity = capacity, dirty = false}
  end
  local level, fraction, last, was, most = read('<ddddd', raw)
  local c = {kind = BUCKET, window = window, level = level, fraction = fraction, last = last, amount = was,
    capacity = most, dirty = false}
  fill(c, now)
  return c
end

local function read_quota(raw)
  local used, reserved, start, finish, seeded = read('<ddddd', raw)
  return {kind = QUOTA, used = used, reserved = reserved, start = start, finish = finish, seeded = seeded,
    amount = 0, dirty = false}
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

-- write stores a bucket or quota until it equals a new one: a bucket until it is full, a quota until a
-- day after its window, because a clock that steps back by up to a day may return to the window. keep,
-- if not 0, is the time to live in milliseconds instead.
local function write(key, c, now, keep)
  local value, ttl
  if c.kind == BUCKET then
    value = pack('<ddddd', c.level, c.fraction, c.last, c.amount, c.capacity)
    ttl = ((c.capacity - c.level) * c.window / c.amount + c.last - now) / 1000 + 1
  else
    value = pack('<ddddd', c.used, c.reserved, c.start, c.finish, c.seeded)
    ttl = (c.finish - now + DAY) / 1000
  end
  if keep > 0 then ttl = keep elseif ttl > 1e14 then ttl = 1e14 end
  call('SET', key, value, 'PX', string.format('%d', math.ceil(ttl)))
end

-- return_to ends a reservation's hold of n, taken at mark, on a bucket or quota, and charges used.
local function return_to(c, kind, n, mark, used, now)
  if c.kind == BUCKET then
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

-- A record has what one reservation holds: candidate, total, cap, the number of holds that are not the
-- candidate's, the number of all holds; then kind, unit, amount, mark, window, limit, capacity and key of
-- each hold. An empty record is that of a reservation which was given up before it was made. When the
-- deadline has passed, a quota's hold becomes REAPED and a permit's GONE: see reap.lua.
local HOLD = '<dddddddI4c0'

local function read_record(raw)
  local candidate, total, cap, commons, n, at = read('<ddddd', raw)
  local record = {candidate = candidate, total = total, cap = cap, commons = commons}
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

-- write_record stores packed holds.
local function write_record(key, candidate, total, cap, commons, holds, keep)
  local head = pack('<ddddd', candidate, total, cap, commons, #holds)
  call('SET', key, head .. table.concat(holds), 'PX', keep)
end

-- changes reports whether ending a hold changes its counter.
local function changes(kind, amount, charge) return kind == QUOTA or amount ~= charge end

-- fetched maps keys to the values of counters that a script has read in one call.
local fetched = {}

-- settle_hold ends a hold on a bucket or a quota, and charges charge. by_key has the counters that were
-- read already, and false for a quota that is no longer in Redis: its next seed will include the usage.
local function settle_hold(by_key, now, charge, kind, amount, mark, window, limit, capacity, key)
  if not changes(kind, amount, charge) then return end
  local c = by_key[key]
  if c == nil then
    local raw = fetched[key]
    if raw == nil then raw = call('GET', key) end
    if kind == BUCKET then
      c = bucket(raw, window, limit, capacity, now)
    else
      c = raw and read_quota(raw)
    end
    by_key[key] = c
  end
  if c then
    return_to(c, kind, amount, mark, charge, now)
    c.dirty = true
  end
end

local function flush(by_key, now, keep)
  for key, c in pairs(by_key) do
    if c and c.dirty then write(key, c, now, keep) end
  end
end
