package limiter

import (
	"context"
	"time"
)

// reserve admits the request, to the candidate that it returns. The error is a *Refusal, or that a
// quota can't be seeded.
func (a *admission) reserve(ctx context.Context) (candidate int, err error) {
	var locks shardSet
	locks.addRules(a.req.Rules)
	for _, rules := range a.req.Candidates {
		locks.addRules(rules)
	}
	var refusal *Refusal
	a.at, err = a.store.whileLocked(ctx, &locks, func(at instant) (unseeded *Rule) {
		candidate, refusal, unseeded = a.admit(at)
		return unseeded
	})
	a.movedAt = a.at
	if err == nil && refusal != nil {
		err = refusal
	}
	return candidate, err
}

// admit is reserve with the shards locked: it checks everything before it takes anything.
func (a *admission) admit(at instant) (candidate int, _ *Refusal, unseeded *Rule) {
	if a.holds, unseeded = a.store.enlist(a.first[:0], nil, a.req.Rules, at); unseeded != nil {
		return 0, nil, unseeded
	}
	a.common = len(a.holds)
	out := a.req.lowered(a.req.wanted(), a.holds, nil)
	verdict := a.req.judge(out, a.holds, nil, at)

	choice, unseeded := a.choose(out, at)
	if unseeded != nil {
		return 0, nil, unseeded
	}
	if choice.verdict.later(verdict) {
		verdict = choice.verdict
	}
	if verdict.refused() {
		return 0, verdict.refusal(verdict.hold.rule, states(make([]State, 0, len(a.holds)), a.holds, at)), nil
	}
	a.out = choice.out
	a.take(a.holds)
	return choice.candidate, nil, nil
}

// choice is a candidate and what came of its rules.
type choice struct {
	candidate int
	out       output
	verdict   verdict
}

// choose finds the first candidate with room, else the one that frees first, and leaves its holds
// behind the request's own.
func (a *admission) choose(out output, at instant) (best choice, unseeded *Rule) {
	best.out = out
	for i, rules := range a.req.Candidates {
		c, unseeded := a.consider(i, rules, out, at)
		if unseeded != nil {
			return best, unseeded
		}
		if !c.verdict.refused() {
			return c, nil
		}
		if i == 0 || best.verdict.later(c.verdict) {
			best = c
		}
	}
	if best.verdict.refused() && best.candidate != len(a.req.Candidates)-1 {
		// The holds are those of the candidate that was looked at last.
		return a.consider(best.candidate, a.req.Candidates[best.candidate], out, at)
	}
	return best, nil
}

// consider judges one candidate.
func (a *admission) consider(i int, rules []*Rule, out output, at instant) (c choice, unseeded *Rule) {
	if a.holds, unseeded = a.store.enlist(a.holds[:a.common], nil, rules, at); unseeded != nil {
		return c, unseeded
	}
	holds := a.holds[a.common:]
	out = a.req.lowered(out, holds, nil)
	return choice{candidate: i, out: out, verdict: a.req.judge(out, holds, nil, at)}, nil
}

// verdict is what became of some rules of a request: the one of those that refuse which frees last.
// The zero verdict is that all have room.
type verdict struct {
	hold     *hold
	room     int64 // of it
	need     int64
	wait     time.Duration
	reserved bool
	tooLarge bool
}

func (v verdict) refused() bool { return v.hold != nil }

// later reports whether v stands in the way for longer than w.
func (v verdict) later(w verdict) bool {
	switch {
	case !v.refused() || !w.refused():
		return v.refused()
	case v.tooLarge || w.tooLarge:
		return v.tooLarge && !w.tooLarge
	default:
		return v.wait > w.wait
	}
}

// lowered lowers out to what the quotas among the holds have left.
func (q *Request) lowered(out output, holds, old []hold) output {
	for i := range holds {
		if l := holds[i].rule.Limit; l.Window.Quota() {
			out = q.lower(out, l, holds[i].roomBeside(old))
		}
	}
	return out
}

// judge compares what the request needs of each rule with what there is. What the old holds, if any,
// will give back counts as free.
func (q *Request) judge(out output, holds, old []hold, at instant) (worst verdict) {
	for i := range holds {
		h := &holds[i]
		l := h.rule.Limit
		total := out.total
		if l.Window.Quota() {
			total = min(total, q.least())
		}
		need, fits := q.need(l, total)
		room := h.roomBeside(old)
		// What takes nothing passes whatever is owed, such as embeddings on a limit of output.
		if need <= room || need == 0 {
			continue
		}
		v := verdict{hold: h, room: room, need: need, tooLarge: !fits}
		if fits {
			v.wait, v.reserved = h.counter.wait(at, need)
		}
		if v.later(worst) {
			worst = v
		}
	}
	return worst
}

// roomBeside is the room that the hold's counter has, with what an old hold on the same counter will
// give back; see Reservation.Move.
func (h *hold) roomBeside(old []hold) int64 {
	for i := range old {
		o := &old[i]
		if o.counter != h.counter {
			continue
		}
		if h.rule.Limit.Window.Quota() && o.mark != h.mark {
			continue // of a window that has passed
		}
		return h.room + o.amount - failedAttempt.Charge(o.rule.Limit.Unit)
	}
	return h.room
}

// refusal returns the error of a verdict on a rule.
func (v verdict) refusal(rule *Rule, all []State) *Refusal {
	l := rule.Limit
	r := &Refusal{
		Rule: rule, Limit: l.Amount, Requested: v.need,
		Remaining: max(v.room, 0), RetryAfter: v.wait, Reserved: v.reserved, TooLarge: v.tooLarge, States: all,
	}
	// A bucket that is smaller than the limit is empty when all of the limit is used, and one that is
	// larger has burst beyond it.
	r.Used = max(l.Amount, l.Capacity()) - v.room
	return r
}
