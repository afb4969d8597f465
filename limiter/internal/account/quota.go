package account

import (
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// Quota is the counter of a calendar window. It is a hard limit: used plus reserved never exceeds the
// amount when a request is admitted.
type Quota struct {
	named
	used     int64
	reserved int64
	amount   int64
	Start    int64 // of the current window, in nanoseconds since 1970; 0 in a new counter
	end      int64
	refs     int32 // unsettled reservations, of any window
	window   limiter.Window
	Seeded   bool // used includes what the seed returned for this window
}

// maxStepBack is how far the wall clock may be set back without reopening a window that has ended. A
// larger step more likely corrects a wrong clock: a gate that started with a clock years ahead must
// not stay in a window that never ends.
const maxStepBack = 24 * time.Hour

func (q *Quota) Touch(now Instant, l limiter.Limit) {
	q.amount = l.Amount
	if now.Wall < q.end && now.Wall >= q.Start-int64(maxStepBack) {
		return
	}
	start, end := q.window.Bounds(time.Unix(0, now.Wall))
	q.Start, q.end = start.UnixNano(), end.UnixNano()
	q.used, q.reserved, q.Seeded = 0, 0, false
}

// Seed adds the usage in the window that starts at start, once.
func (q *Quota) Seed(start, used int64) {
	if q.Start == start && !q.Seeded {
		q.used, q.Seeded = ClampAmount(q.used+ClampAmount(used)), true
	}
}

func (q *Quota) Room() (n, mark int64) { return q.amount - q.used - q.reserved, q.Start }

func (q *Quota) Wait(now Instant, n int64) (time.Duration, bool) {
	if n <= q.amount-q.used {
		return inFlightRetry, true
	}
	return time.Duration(q.end - now.Wall), false
}

func (q *Quota) Take(n int64) {
	q.reserved += n
	q.refs++
}

// Settle charges the window in which the request was admitted. If that has ended, it charges nothing,
// because the count is no longer used.
func (q *Quota) Settle(_ Instant, n, mark, used int64) {
	q.refs--
	if q.Start == mark {
		q.reserved -= n
		q.used = ClampAmount(q.used + used)
	}
}

func (q *Quota) Idle(now Instant) bool {
	return q.refs == 0 && (q.used == 0 || now.Wall >= q.end)
}
