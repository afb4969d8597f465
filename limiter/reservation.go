package limiter

import (
	"context"
	"sync"
)

// reservation is a Reservation of Memory: a small ticket to the admission that it holds until it is
// settled. Admissions are used again and tickets are not, so that a late call to Settle finds its own
// ticket empty, never the admission of somebody else.
type reservation struct {
	mu        sync.Mutex // guards what follows; taken before the shards' locks
	admission *admission // nil when settled
	candidate int
	cap       int64
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
	return r.cap
}

// States implements [Reservation].
func (r *reservation) States() []State {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.admission == nil {
		return nil
	}
	return r.admission.states()
}

// Settle implements [Reservation].
func (r *reservation) Settle(_ context.Context, used Actual) {
	r.mu.Lock()
	a := r.admission
	r.admission = nil
	r.mu.Unlock()
	if a != nil {
		a.settle(used)
		a.release()
	}
}

// Move implements [Reservation].
func (r *reservation) Move(ctx context.Context, candidate int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.admission == nil {
		return ErrSettled
	}
	if err := r.admission.req.checkCandidate(candidate); err != nil {
		return err
	}
	if err := r.admission.moveTo(ctx, candidate); err != nil {
		return err
	}
	r.candidate, r.cap = candidate, r.admission.out.cap
	return nil
}
