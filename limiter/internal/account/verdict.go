package account

import (
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// Verdict is what became of some rules of a request: the one of those that refuse which frees last.
// The zero verdict is that all have room.
type Verdict struct {
	Hold     *Hold
	Room     int64 // of it
	Need     int64
	Wait     time.Duration
	Reserved bool
	TooLarge bool
}

func (v Verdict) Refused() bool { return v.Hold != nil }

// Later reports whether v stands in the way for longer than w.
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

// Lowered lowers out to what the quotas among the holds have left.
func (q *Demand) Lowered(out Output, holds, old []Hold) Output {
	for i := range holds {
		if l := holds[i].Rule.Limit; l.Window.Quota() {
			out = q.lower(out, l, holds[i].roomBeside(old))
		}
	}
	return out
}

// Judge compares what the request needs of each rule with what there is. What the old holds, if any,
// will give back counts as free.
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
		// What takes nothing passes whatever is owed, such as embeddings on a limit of output.
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

// roomBeside is the room that the hold's counter has, with what an old hold on the same counter will
// give back; see Reservation.Move.
func (h *Hold) roomBeside(old []Hold) int64 {
	for i := range old {
		o := &old[i]
		if o.Counter != h.Counter {
			continue
		}
		if h.Rule.Limit.Window.Quota() && o.Mark != h.Mark {
			continue // of a window that has passed
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
	// A bucket that is smaller than the limit is empty when all of the limit is used, and one that is
	// larger has burst tooMuch it.
	r.Used = max(l.Amount, l.Capacity()) - v.Room
	return r
}

// FailedAttempt is what a candidate is charged that is given up by a move.
var FailedAttempt = limiter.Usage{Dispatched: true, Failed: true}
