// Package account implements the accounting that all stores share: buckets, quotas and permits, the
// amounts that a request needs of them, and the verdict.
package account

import (
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// Instant is a point in time on both clocks.
type Instant struct {
	Mono int64 // nanoseconds since the store was created, by the monotonic clock: for rates
	Wall int64 // nanoseconds since 1970, by the wall clock: for calendar windows
}

// Counter counts for all rules of one name. Its shard must be locked while its methods are called.
type Counter interface {
	// Name returns the name of its rules.
	Name() string

	// Touch advances the counter to now and applies the amounts of l, which a reload may have changed.
	Touch(now Instant, l limiter.Limit)

	// Room returns how much may be taken, below 0 if the counter is overdrawn, and the mark that its
	// state and its settlement need: the fraction of a bucket, the window of a quota.
	Room() (n, mark int64)

	// Wait returns the time until there is room for n; reserved is true if only reservations keep n
	// from being taken.
	Wait(now Instant, n int64) (d time.Duration, reserved bool)

	// Take takes n for a reservation. There must be room for it.
	Take(n int64)

	// Settle ends a reservation of n, taken at mark, and charges used.
	Settle(now Instant, n, mark, used int64)

	// Idle reports whether the counter's state equals that of a new one.
	Idle(now Instant) bool
}

// inFlightRetry is the retry time for amounts held by requests in flight.
const inFlightRetry = time.Second

// named is the name of a counter.
type named string

func (n named) Name() string { return string(n) }

// NewCounter returns a counter for a rule, with nothing taken.
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

// Hold is the part of a reservation on one counter.
type Hold struct {
	Rule    *limiter.Rule
	Counter Counter
	Amount  int64 // taken from the counter
	Room    int64 // left after Amount was taken
	Mark    int64 // of the counter when Amount was taken
	Used    int64 // usage of a quota at the same time
}

// Look reads the counter's room and mark, and a quota's usage, into the hold.
func (h *Hold) Look() {
	h.Room, h.Mark = h.Counter.Room()
	if q, ok := h.Counter.(*Quota); ok {
		h.Used = q.used
	}
}

// Take takes the hold's amount from its counter.
func (h *Hold) Take() {
	h.Counter.Take(h.Amount)
	h.Look()
}

// Settle ends the hold and charges what was used.
func (h *Hold) Settle(now Instant, used limiter.Usage) {
	h.Counter.Settle(now, h.Amount, h.Mark, used.Charge(h.Rule.Limit.Unit))
}

// State returns the state of the counter at the last Look, which was at at.
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
