package limiter

import (
	"context"
	"sync"
	"time"
)

// slicedReservation is a Reservation of Redis that was made from a slice, without a call.
type slicedReservation struct {
	path       *hotPath
	slice      *slice // nil: all limits are concurrent
	place      *place // nil: none is
	candidates int
	at         instant
	holds      []hold // by the path's rules
	few        [4]hold

	mu        sync.Mutex // guards what follows
	candidate int
	settled   bool
}

// admit takes what a request needs. The lock must be held.
func (p *hotPath) admit(req *Request, sl *slice, place *place, needs *[sliceRules]int64, now time.Time) *slicedReservation {
	res := &slicedReservation{path: p, slice: sl, place: place, candidates: len(req.Candidates)}
	res.holds = append(res.few[:0], make([]hold, len(p.rules))...)
	for i, rule := range p.rules {
		res.holds[i].rule = rule
		p.shared[i].take(&res.holds[i], needs[i], now)
	}
	switch {
	case sl != nil:
		for n, i := range p.amounts {
			sl.parts[n].unspent -= needs[i]
			sl.parts[n].held += needs[i]
		}
		sl.flying++
		p.keys.note(sl)
		res.at = sl.at.after(now.Sub(sl.opened))
	default:
		res.at = instant{wall: now.UnixNano()}
	}
	return res
}

// after is a time later.
func (i instant) after(d time.Duration) instant {
	return instant{mono: i.mono + int64(d), wall: i.wall + int64(d)}
}

// Candidate implements [Reservation].
func (r *slicedReservation) Candidate() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.candidate
}

// Cap implements [Reservation]. A slice has room for all that a request may use.
func (r *slicedReservation) Cap() int64 { return -1 }

// States implements [Reservation].
func (r *slicedReservation) States() []State {
	return states(make([]State, 0, len(r.holds)), r.holds, r.at)
}

// Move implements [Reservation]. No candidate has limits, so that nothing is taken or given up.
func (r *slicedReservation) Move(ctx context.Context, candidate int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return ErrSettled
	}
	if err := checkCandidate(candidate, r.candidates); err != nil {
		return err
	}
	r.candidate = candidate
	return nil
}

// Settle implements [Reservation]. Redis is told in the background, with what other requests of the slice
// have used.
func (r *slicedReservation) Settle(_ context.Context, used Actual) {
	r.mu.Lock()
	settled := r.settled
	r.settled = true
	r.mu.Unlock()
	if settled {
		return
	}
	p := r.path
	p.mu.Lock()
	urgent, owed := p.settle(r, used)
	p.mu.Unlock()
	p.keys.stop(owed)
	if urgent {
		p.keys.tell()
	}
}

// settle ends what a reservation holds. It reports whether others should know at once: where more was used
// than was reserved, where requests are exact for now, and where nobody else tells; and the limits that owe something now. The lock must
// be held.
func (p *hotPath) settle(r *slicedReservation, used Actual) (urgent bool, owed []*Rule) {
	if r.place != nil {
		p.places.put(r.place)
	}
	if r.slice == nil {
		return false, nil
	}
	for n, i := range p.amounts {
		h, part := &r.holds[i], &r.slice.parts[n]
		charge := used.Charge(h.rule.Limit.Unit)
		part.held -= h.amount
		part.used = clamp(part.used + charge)
		p.shared[i].settle(h.amount-charge, charge, part.mark)
		if charge > h.amount {
			urgent = true
			if p.shared[i].owes() {
				owed = append(owed, h.rule)
			}
		}
	}
	r.slice.flying--
	p.keys.note(r.slice)
	return urgent || p.retired || !p.cool.IsZero(), owed
}
