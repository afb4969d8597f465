package limiter

import "time"

// instant is a point in time as the counters need it.
type instant struct {
	mono int64 // nanoseconds since the store was made, by the monotonic clock: for rates
	wall int64 // nanoseconds since 1970, by the wall clock: for calendar windows
}

// counter counts for all rules of one name. Its methods must be called with its shard locked.
type counter interface {
	// Name is that of its rules.
	Name() string

	// touch brings the counter to now and under a limit, whose amounts a reload may have changed.
	touch(now instant, l Limit)

	// room is how much may be taken, below 0 where the counter is overdrawn, and its mark is what
	// else its state and its settlement need: the fraction of a bucket, the window of a quota.
	room() (n, mark int64)

	// wait tells how long it takes until there is room for n; reserved is true where it is only
	// reservations that are in the way.
	wait(now instant, n int64) (d time.Duration, reserved bool)

	// take takes n for a reservation; there is room for it.
	take(n int64)

	// settle ends a reservation of n, taken at mark, of which used was used.
	settle(now instant, n, mark, used int64)

	// idle reports whether a new counter in the place of this one would be the same.
	idle(now instant) bool
}

// inFlightRetry is how soon a caller may ask again for what requests in flight hold.
const inFlightRetry = time.Second

// named is the name of a counter.
type named string

func (n named) Name() string { return string(n) }

// newCounter returns the counter for a rule, with nothing taken.
func newCounter(now instant, r *Rule) counter {
	switch l := r.Limit; {
	case l.Unit == Concurrent:
		return &leases{named: named(r.name)}
	case l.Window.Quota():
		return &quota{named: named(r.name), window: l.Window}
	default:
		return newBucket(now, r)
	}
}

// hold is the part of a reservation that one counter has.
type hold struct {
	rule    *Rule
	counter counter
	amount  int64 // that is taken
	room    int64 // that was left after it
	mark    int64 // of the counter when it was taken
	used    int64 // of a quota, at the same time
}

// look reads the counter's room and mark into the hold, and what of a quota is used.
func (h *hold) look() {
	h.room, h.mark = h.counter.room()
	if q, ok := h.counter.(*quota); ok {
		h.used = q.used
	}
}

// take takes the hold's amount.
func (h *hold) take() {
	h.counter.take(h.amount)
	h.look()
}

// settle gives the hold up.
func (h *hold) settle(now instant, used Actual) {
	h.counter.settle(now, h.amount, h.mark, used.Charge(h.rule.Limit.Unit))
}

// state is the state of the counter at the time that it was looked at.
func (h *hold) state(at instant) State {
	l := h.rule.Limit
	s := State{Rule: h.rule, Limit: l.Amount, Remaining: max(h.room, 0)}
	switch {
	case l.Window.Rate():
		s.Reset = fillTime(l.Capacity()-h.room, h.mark, l)
	case l.Window.Quota():
		var end time.Time
		s.Since, end = l.Window.Bounds(time.Unix(0, h.mark))
		s.Used = h.used
		s.Reset = time.Duration(end.UnixNano() - at.wall)
	}
	return s
}

func states(dst []State, holds []hold, at instant) []State {
	for i := range holds {
		dst = append(dst, holds[i].state(at))
	}
	return dst
}
