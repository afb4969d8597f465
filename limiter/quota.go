package limiter

import "time"

// quota is the counter of a calendar window. It is hard: what is used and what is reserved never
// come to more than the amount when a request is admitted.
type quota struct {
	named
	used     int64
	reserved int64
	amount   int64
	start    int64 // of the window that is counted, in nanoseconds since 1970; 0 in a new counter
	end      int64
	refs     int32 // reservations that are not settled, of whatever window
	window   Window
	seeded   bool // used holds what the seed told for this window
}

// maxStepBack is how far the wall clock may be set back without a window that has ended being
// opened again. Beyond it, it is more likely that the clock was wrong before: a gate that started
// with a clock years ahead must not stay in a window that never ends.
const maxStepBack = 24 * time.Hour

func (q *quota) touch(now instant, l Limit) {
	q.amount = l.Amount
	if now.wall < q.end && now.wall >= q.start-int64(maxStepBack) {
		return
	}
	start, end := q.window.Bounds(time.Unix(0, now.wall))
	q.start, q.end = start.UnixNano(), end.UnixNano()
	q.used, q.reserved, q.seeded = 0, 0, false
}

// seed adds what was used of the window that starts at start, once.
func (q *quota) seed(start, used int64) {
	if q.start == start && !q.seeded {
		q.used, q.seeded = clamp(q.used+clamp(used)), true
	}
}

func (q *quota) room() (n, mark int64) { return q.amount - q.used - q.reserved, q.start }

func (q *quota) wait(now instant, n int64) (time.Duration, bool) {
	if n <= q.amount-q.used {
		return inFlightRetry, true
	}
	return time.Duration(q.end - now.wall), false
}

func (q *quota) take(n int64) {
	q.reserved += n
	q.refs++
}

// settle charges the window in which the request was admitted. Where that has passed, nothing asks
// for it any more.
func (q *quota) settle(_ instant, n, mark, used int64) {
	q.refs--
	if q.start == mark {
		q.reserved -= n
		q.used = clamp(q.used + used)
	}
}

func (q *quota) idle(now instant) bool {
	return q.refs == 0 && (q.used == 0 || now.wall >= q.end)
}
