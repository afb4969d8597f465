package account

import (
	"math"
	"math/bits"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// Bucket is the counter of a rate: a token bucket in the sense of RFC 2697 and RFC 3290 (section
// A.2), which is GCRA (ITU-T I.371) in another form. It fills by the limit's amount each window up
// to the capacity. A request is admitted if the level is at least what it reserves, so that over
// any time w no more than capacity + amount·w is admitted. Usage beyond the reservation is taken at
// settlement, and may put the level below zero: a debt, which the refill pays before another request
// is admitted.
//
// Levels are integers with an exact remainder, so that frequent refills neither lose nor gain
// anything: the level is Level + Fraction/window, with the window in nanoseconds.
type Bucket struct {
	named
	Level    int64
	Fraction int64 // of a unit, in 1/window ns; 0 in a full bucket
	last     int64 // Instant.Mono of the last Fill
	Amount   int64
	Capacity int64
	refs     int32 // unsettled reservations
	Window   limiter.Window
}

func newBucket(now Instant, r *limiter.Rule) *Bucket {
	return &Bucket{
		named: named(r.Name()), Level: r.Limit.Capacity(), last: now.Mono,
		Amount: r.Limit.Amount, Capacity: r.Limit.Capacity(), Window: r.Limit.Window,
	}
}

func (b *Bucket) Touch(now Instant, l limiter.Limit) {
	b.Fill(now)
	b.Amount, b.Capacity = l.Amount, l.Capacity()
	b.trim()
}

// Fill adds the refill since the last call. It adds nothing if time steps back.
func (b *Bucket) Fill(now Instant) {
	elapsed := now.Mono - b.last
	if elapsed <= 0 {
		return
	}
	b.last = now.Mono
	if b.Level >= b.Capacity {
		return
	}
	window := uint64(b.Window.Duration())
	hi, lo := bits.Mul64(uint64(elapsed), uint64(b.Amount))
	lo, carry := bits.Add64(lo, uint64(b.Fraction), 0)
	hi += carry
	if hi >= window { // the refill is more than 2^64 units
		b.Level, b.Fraction = b.Capacity, 0
		return
	}
	units, rest := bits.Div64(hi, lo, window)
	if units >= uint64(b.Capacity-b.Level) {
		b.Level, b.Fraction = b.Capacity, 0
		return
	}
	b.Level += int64(units)
	b.Fraction = int64(rest)
}

// trim lowers the level to the capacity.
func (b *Bucket) trim() {
	if b.Level >= b.Capacity {
		b.Level, b.Fraction = b.Capacity, 0
	}
}

func (b *Bucket) Room() (n, mark int64) { return b.Level, b.Fraction }

func (b *Bucket) Wait(_ Instant, n int64) (time.Duration, bool) {
	return min(FillTime(n-b.Level, b.Fraction, limiter.Limit{Amount: b.Amount, Window: b.Window}), LongestWait), false
}

func (b *Bucket) Take(n int64) {
	b.Level -= n
	b.refs++
}

func (b *Bucket) Settle(now Instant, n, _, used int64) {
	b.Fill(now)
	b.Level = max(b.Level+n-used, -b.maxDebt())
	b.trim()
	b.refs--
}

// maxDebt returns the largest debt of a bucket: a day's refill. That is far more than an honest answer
// can use beyond its reservation, and bounds how long a false usage report can block a limit.
func (b *Bucket) maxDebt() int64 {
	return MulDiv(b.Amount, int64(24*time.Hour/b.Window.Duration()), 1)
}

func (b *Bucket) Idle(now Instant) bool {
	b.Fill(now)
	return b.refs == 0 && b.Level >= b.Capacity
}

// LongestWait is the longest RetryAfter for a rate, bounded by what a Redis script can count in
// nanoseconds. counter.lua has the same constant.
const LongestWait = 100 * 24 * time.Hour

// FillTime returns the time that a limit takes to refill missing units less fraction, rounded up to
// the nanosecond; 0 if nothing is missing.
func FillTime(missing, fraction int64, l limiter.Limit) time.Duration {
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
