package limiter

import "time"

// reserve admits the request or returns a *Refusal.
func (r *reservation) reserve() error {
	var locks shardSet
	locks.addRules(r.req.Rules)
	for _, rules := range r.req.Candidates {
		locks.addRules(rules)
	}
	var refusal *Refusal
	r.at = r.store.whileLocked(&locks, func(at instant) (unseeded *Rule) {
		refusal, unseeded = r.admit(at)
		return unseeded
	})
	r.movedAt = r.at
	if refusal != nil {
		return refusal
	}
	return nil
}

// admit is reserve with the shards locked: it checks everything before it takes anything.
func (r *reservation) admit(at instant) (_ *Refusal, unseeded *Rule) {
	if r.holds, unseeded = r.store.enlist(r.first[:0], nil, r.req.Rules, at); unseeded != nil {
		return nil, unseeded
	}
	r.common = len(r.holds)
	out := r.req.lowered(r.req.wanted(), r.holds, nil)
	verdict := r.req.judge(out, r.holds, nil, at)

	choice, unseeded := r.choose(out, at)
	if unseeded != nil {
		return nil, unseeded
	}
	if choice.verdict.refused() && choice.verdict.later(verdict) {
		verdict = choice.verdict
	}
	if verdict.refused() {
		return verdict.refusal(states(nil, r.holds, at)), nil
	}
	r.candidate, r.out = choice.candidate, choice.out
	for i := range r.holds {
		r.holds[i].amount, _ = r.req.need(r.holds[i].rule.Limit, r.out.total)
		r.holds[i].take()
	}
	return nil, nil
}

// choice is a candidate and what came of its rules.
type choice struct {
	candidate int
	out       output
	verdict   verdict
}

// choose finds the first candidate with room, else the one that frees first, and leaves its holds
// behind the request's own.
func (r *reservation) choose(out output, at instant) (best choice, unseeded *Rule) {
	best.out = out
	for i, rules := range r.req.Candidates {
		c := choice{candidate: i}
		if c, unseeded = r.consider(i, rules, out, at); unseeded != nil {
			return best, unseeded
		}
		if !c.verdict.refused() {
			return c, nil
		}
		if i == 0 || best.verdict.later(c.verdict) {
			best = c
		}
	}
	if best.verdict.refused() && best.candidate != len(r.req.Candidates)-1 {
		// The holds are those of the candidate that was looked at last.
		return r.consider(best.candidate, r.req.Candidates[best.candidate], out, at)
	}
	return best, nil
}

// consider judges one candidate.
func (r *reservation) consider(i int, rules []*Rule, out output, at instant) (c choice, unseeded *Rule) {
	if r.holds, unseeded = r.store.enlist(r.holds[:r.common], nil, rules, at); unseeded != nil {
		return c, unseeded
	}
	holds := r.holds[r.common:]
	out = r.req.lowered(out, holds, nil)
	return choice{candidate: i, out: out, verdict: r.req.judge(out, holds, nil, at)}, nil
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
		if o.counter != h.counter || o.rule.Limit.Unit == Requests {
			continue
		}
		if h.rule.Limit.Window.Quota() && o.mark != h.mark {
			continue // of a window that has passed
		}
		return min(h.room+o.amount, h.rule.Limit.Capacity())
	}
	return h.room
}

// refusal makes the error of a verdict.
func (v verdict) refusal(all []State) *Refusal {
	l := v.hold.rule.Limit
	r := &Refusal{
		Rule: v.hold.rule, Limit: l.Amount, Requested: v.need,
		Remaining: max(v.room, 0), RetryAfter: v.wait, Reserved: v.reserved, TooLarge: v.tooLarge, States: all,
	}
	// A bucket that is smaller than the limit is empty when all of the limit is used, and one that is
	// larger has burst beyond it.
	r.Used = max(l.Amount, l.Capacity()) - v.room
	return r
}
