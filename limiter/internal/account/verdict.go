package account

import (
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// Verdict is the decision on some rules of a request: of those that refuse, the one that has room last.
// The zero Verdict means that all have room.
type Verdict struct {
	Hold     *Hold
	Room     int64 // of Hold's counter
	Need     int64
	Wait     time.Duration
	Reserved bool
	TooLarge bool
}

func (v Verdict) Refused() bool { return v.Hold != nil }

// Later reports whether v blocks the request for longer than w.
func (v Verdict) Later(w Verdict) bool {
	switch {
	case !v.Refused() || !w.Refused():
		return v.Refused()
	case v.TooLarge || w.TooLarge:
		return v.TooLarge && !w.TooLarge
	default:
		return v.Wait > w.Wait
	}
}

// Lowered returns out lowered to what the quotas among the holds have left.
func (q *Demand) Lowered(out Output, holds, old []Hold) Output {
	for i := range holds {
		if l := holds[i].Rule.Limit; l.Window.Quota() {
			out = q.lower(out, l, holds[i].roomBeside(old))
		}
	}
	return out
}

// Judge compares what the request needs of each rule with the room of its counter. What the old holds,
// if any, will return counts as free.
func (q *Demand) Judge(out Output, holds, old []Hold, at Instant) (worst Verdict) {
	for i := range holds {
		h := &holds[i]
		l := h.Rule.Limit
		total := out.Total
		if l.Window.Quota() {
			total = min(total, q.Least())
		}
		need, fits := q.Need(l, total)
		room := h.roomBeside(old)
		// A request that takes nothing passes despite a debt, such as embeddings on a limit of output.
		if need <= room || need == 0 {
			continue
		}
		v := Verdict{Hold: h, Room: room, Need: need, TooLarge: !fits}
		if fits {
			v.Wait, v.Reserved = h.Counter.Wait(at, need)
		}
		if v.Later(worst) {
			worst = v
		}
	}
	return worst
}

// roomBeside returns the room of the hold's counter plus what an old hold on the same counter will
// return; see Reservation.Move.
func (h *Hold) roomBeside(old []Hold) int64 {
	for i := range old {
		o := &old[i]
		if o.Counter != h.Counter {
			continue
		}
		if h.Rule.Limit.Window.Quota() && o.Mark != h.Mark {
			continue // of a window that has ended
		}
		return h.Room + o.Amount - FailedAttempt.Charge(o.Rule.Limit.Unit)
	}
	return h.Room
}

// Refusal returns the error of a verdict on a rule.
func (v Verdict) Refusal(rule *limiter.Rule, all []limiter.State) *limiter.Refusal {
	l := rule.Limit
	r := &limiter.Refusal{
		Rule: rule, Limit: l.Amount, Requested: v.Need,
		Remaining: max(v.Room, 0), RetryAfter: v.Wait, Reserved: v.Reserved, TooLarge: v.TooLarge, States: all,
	}
	// A bucket smaller than the limit's amount is empty when the whole amount is used; a larger one
	// holds the whole burst.
	r.Used = max(l.Amount, l.Capacity()) - v.Room
	return r
}

// FailedAttempt is the usage charged for a candidate that a move releases.
var FailedAttempt = limiter.Usage{Dispatched: true, Failed: true}
