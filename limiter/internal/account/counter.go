// Package account has what every store of limits counts by: buckets, quotas and permits, what a request needs
// of them, and the verdict.
package account

import (
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// Instant is a point in time as the counters need it.
type Instant struct {
	Mono int64 // nanoseconds since the store was made, by the monotonic clock: for rates
	Wall int64 // nanoseconds since 1970, by the wall clock: for calendar windows
}

// Counter counts for all rules of one name. Its methods must be called with its shard locked.
type Counter interface {
	// Name is that of its rules.
	Name() string

	// Touch brings the counter to now and under a limit, whose amounts a reload may have changed.
	Touch(now Instant, l limiter.Limit)

	// Room is how much may be taken, below 0 where the counter is overdrawn, and its mark is what
	// else its state and its settlement need: the fraction of a bucket, the window of a quota.
	Room() (n, mark int64)

	// Wait returns how long it takes until there is room for n; reserved is true where it is only
	// reservations that are in the way.
	Wait(now Instant, n int64) (d time.Duration, reserved bool)

	// Take takes n for a reservation; there is room for it.
	Take(n int64)

	// Settle ends a reservation of n, taken at mark, of which used was used.
	Settle(now Instant, n, mark, used int64)

	// Idle reports whether a new counter in the place of this one would be the same.
	Idle(now Instant) bool
}

// inFlightRetry is how soon a caller may ask again for what requests in flight hold.
const inFlightRetry = time.Second

// named is the name of a counter.
type named string

func (n named) Name() string { return string(n) }

// NewCounter returns the counter for a rule, with nothing taken.
func NewCounter(now Instant, r *limiter.Rule) Counter {
	switch l := r.Limit; {
	case l.Unit == limiter.Concurrent:
		return &Permits{named: named(r.Name())}
	case l.Window.Quota():
		return &Quota{named: named(r.Name()), window: l.Window}
	default:
		return newBucket(now, r)
	}
}

// Hold is the part of a reservation that one counter has.
type Hold struct {
	Rule    *limiter.Rule
	Counter Counter
	Amount  int64 // that is taken
	Room    int64 // that was left after it
	Mark    int64 // of the counter when it was taken
	Used    int64 // of a quota, at the same time
}

// Look reads the counter's room and mark into the hold, and what of a quota is used.
func (h *Hold) Look() {
	h.Room, h.Mark = h.Counter.Room()
	if q, ok := h.Counter.(*Quota); ok {
		h.Used = q.used
	}
}

// Take takes the hold's amount.
func (h *Hold) Take() {
	h.Counter.Take(h.Amount)
	h.Look()
}

// Settle gives the hold up.
func (h *Hold) Settle(now Instant, used limiter.Usage) {
	h.Counter.Settle(now, h.Amount, h.Mark, used.Charge(h.Rule.Limit.Unit))
}

// State is the state of the counter at the time that it was looked at.
func (h *Hold) State(at Instant) limiter.State {
	l := h.Rule.Limit
	s := limiter.State{Rule: h.Rule, Limit: l.Amount, Remaining: max(h.Room, 0)}
	switch {
	case l.Window.Rate():
		s.Reset = FillTime(l.Capacity()-h.Room, h.Mark, l)
	case l.Window.Quota():
		var end time.Time
		s.Since, end = l.Window.Bounds(time.Unix(0, h.Mark))
		s.Used = h.Used
		s.Reset = time.Duration(end.UnixNano() - at.Wall)
	}
	return s
}

func States(dst []limiter.State, holds []Hold, at Instant) []limiter.State {
	for i := range holds {
		dst = append(dst, holds[i].State(at))
	}
	return dst
}
