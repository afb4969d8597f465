package limiter

import (
	"context"
	"fmt"
	"sync"
)

// reservation is a Reservation of Memory. It is never used again, so that a late call to Settle
// finds its own reservation and nobody else's.
type reservation struct {
	store *Memory
	req   Request

	mu        sync.Mutex // guards what follows; taken before the shards' locks
	settled   bool
	candidate int
	common    int // how many of the holds are the request's own; the others are the candidate's
	out       output
	holds     []hold
	at        instant // of the admission
	movedAt   instant // of the last move, else of the admission: the candidate's holds are of then

	// first is where the holds lie as long as they are few, so that a reservation is one allocation.
	first [6]hold
}

// Candidate implements [Reservation].
func (r *reservation) Candidate() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.candidate
}

// Cap implements [Reservation].
func (r *reservation) Cap() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.cap
}

// States implements [Reservation].
func (r *reservation) States() []State {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := states(make([]State, 0, len(r.holds)), r.holds[:r.common], r.at)
	return states(all, r.holds[r.common:], r.movedAt)
}

// Settle implements [Reservation].
func (r *reservation) Settle(_ context.Context, used Actual) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return
	}
	r.settled = true
	var locks shardSet
	locks.addHolds(r.holds)
	now := r.store.instant()
	r.store.lock(&locks)
	for i := range r.holds {
		r.holds[i].settle(now, used)
	}
	r.store.unlock(&locks)
}

// Move implements [Reservation].
func (r *reservation) Move(ctx context.Context, candidate int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return ErrSettled
	}
	if candidate < 0 || candidate >= max(len(r.req.Candidates), 1) {
		return fmt.Errorf("moving a reservation to candidate %d of %d", candidate, len(r.req.Candidates))
	}
	var rules []*Rule
	if len(r.req.Candidates) > 0 {
		rules = r.req.Candidates[candidate]
	}
	var locks shardSet
	locks.addHolds(r.holds[r.common:])
	locks.addRules(rules)
	var refusal *Refusal
	r.store.whileLocked(&locks, func(at instant) (unseeded *Rule) {
		refusal, unseeded = r.move(candidate, rules, at)
		return unseeded
	})
	if refusal != nil {
		return refusal
	}
	return nil
}

// move is Move with the shards locked.
func (r *reservation) move(candidate int, rules []*Rule, at instant) (*Refusal, *Rule) {
	own, old := r.holds[:r.common], r.holds[r.common:]
	holds, unseeded := r.store.enlist(nil, own, rules, at)
	if unseeded != nil {
		return nil, unseeded
	}
	out := r.req.lowered(r.out, holds, old)
	if v := r.req.judge(out, holds, old, at); v.refused() {
		return v.refusal(states(states(nil, own, r.at), holds, at)), nil
	}
	for i := range old {
		old[i].settle(at, Actual{Dispatched: true, Failed: true})
	}
	for i := range holds {
		holds[i].amount, _ = r.req.need(holds[i].rule.Limit, out.total)
		holds[i].take()
	}
	r.holds = append(own, holds...)
	r.candidate, r.out, r.movedAt = candidate, out, at
	return nil, nil
}
