package limiter

import (
	"math"
	"math/bits"
	"time"
)

// bucket is the counter of a rate: a token bucket in the sense of RFC 2697 and RFC 3290 (section
// A.2), which is GCRA (ITU-T I.371) in another form. It fills by the limit's amount each window up
// to the capacity; a request is admitted where the level is at least what it reserves, so that over
// any time w no more than capacity + amount·w is admitted. What an answer used beyond its
// reservation is taken at the end, and the level may then be below zero: a debt, which the refill
// pays before anything else is admitted.
//
// Levels are integers with an exact remainder, so that nothing is lost or won by looking often:
// the level is level + fraction/window, with the window in nanoseconds.
type bucket struct {
	named
	level    int64
	fraction int64 // of a unit, in 1/window ns; 0 in a full bucket
	last     int64 // instant.mono up to which it is filled
	amount   int64
	capacity int64
	refs     int32 // reservations that are not settled
	window   Window
}

func newBucket(now instant, r *Rule) *bucket {
	return &bucket{
		named: named(r.name), level: r.Limit.Capacity(), last: now.mono,
		amount: r.Limit.Amount, capacity: r.Limit.Capacity(), window: r.Limit.Window,
	}
}

func (b *bucket) touch(now instant, l Limit) {
	b.fill(now)
	b.amount, b.capacity = l.Amount, l.Capacity()
	b.trim()
}

// fill adds what has come in since it was last called. Time that steps back adds nothing.
func (b *bucket) fill(now instant) {
	elapsed := now.mono - b.last
	if elapsed <= 0 {
		return
	}
	b.last = now.mono
	if b.level >= b.capacity {
		return
	}
	window := uint64(b.window.Duration())
	hi, lo := bits.Mul64(uint64(elapsed), uint64(b.amount))
	lo, carry := bits.Add64(lo, uint64(b.fraction), 0)
	hi += carry
	if hi >= window { // more than 2^64 units came in
		b.level, b.fraction = b.capacity, 0
		return
	}
	units, rest := bits.Div64(hi, lo, window)
	if units >= uint64(b.capacity-b.level) {
		b.level, b.fraction = b.capacity, 0
		return
	}
	b.level += int64(units)
	b.fraction = int64(rest)
}

// trim spills what is above the capacity.
func (b *bucket) trim() {
	if b.level >= b.capacity {
		b.level, b.fraction = b.capacity, 0
	}
}

func (b *bucket) room() (n, mark int64) { return b.level, b.fraction }

func (b *bucket) wait(_ instant, n int64) (time.Duration, bool) {
	return min(fillTime(n-b.level, b.fraction, Limit{Amount: b.amount, Window: b.window}), longestWait), false
}

func (b *bucket) take(n int64) {
	b.level -= n
	b.refs++
}

func (b *bucket) settle(now instant, n, _, used int64) {
	b.fill(now)
	b.level = max(b.level+n-used, -b.maxDebt())
	b.trim()
	b.refs--
}

// maxDebt bounds what a bucket may owe to a day's refill. It is far beyond what an honest answer can
// use above its reservation, and the longest that a false report of usage can block a limit.
func (b *bucket) maxDebt() int64 {
	return mulDiv(b.amount, int64(24*time.Hour/b.window.Duration()), 1)
}

func (b *bucket) idle(now instant) bool {
	b.fill(now)
	return b.refs == 0 && b.level >= b.capacity
}

// longestWait is the longest that a refusal says to wait for a rate, which is all that a script of Redis can
// count in nanoseconds. counter.lua has it too.
const longestWait = 100 * 24 * time.Hour

// fillTime is the time in which a limit's refill comes to missing units, of which it has a fraction
// already, rounded up to the nanosecond; 0 where nothing is missing.
func fillTime(missing, fraction int64, l Limit) time.Duration {
	if missing <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(missing), uint64(l.Window.Duration()))
	lo, borrow := bits.Sub64(lo, uint64(fraction), 0)
	hi -= borrow
	lo, carry := bits.Add64(lo, uint64(l.Amount-1), 0)
	hi += carry
	if hi >= uint64(l.Amount) {
		return math.MaxInt64
	}
	d, _ := bits.Div64(hi, lo, uint64(l.Amount))
	return time.Duration(min(d, math.MaxInt64))
}
