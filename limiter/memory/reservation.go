package memory

import (
	"context"
	"slices"
	"sync"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// Reservation is the limiter.Reservation of a [Store]: a small handle for an admission until it is
// settled. Admissions are reused and handles are not, so that a repeated Settle finds its own handle
// empty, never the admission of another request.
type Reservation struct {
	mu        sync.Mutex // guards the fields below; taken before the shards' locks
	admission *admission // nil once settled
	candidate int
	cap       int64
}

// Candidate implements [limiter.Reservation].
func (r *Reservation) Candidate() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.candidate
}

// Cap implements [limiter.Reservation].
func (r *Reservation) Cap() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cap
}

// States implements [limiter.Reservation].
func (r *Reservation) States() []limiter.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.admission == nil {
		return nil
	}
	return r.admission.states()
}

// Settle implements [limiter.Reservation].
func (r *Reservation) Settle(_ context.Context, used limiter.Usage) {
	r.mu.Lock()
	a := r.admission
	r.admission = nil
	r.mu.Unlock()
	if a != nil {
		a.settle(used)
		a.release()
	}
}

// Holds returns a copy of the holds; nil after Settle.
func (r *Reservation) Holds() []account.Hold {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.admission == nil {
		return nil
	}
	return slices.Clone(r.admission.holds)
}

// Move implements [limiter.Reservation].
func (r *Reservation) Move(ctx context.Context, candidate int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.admission == nil {
		return limiter.ErrSettled
	}
	if err := account.CheckCandidate(candidate, len(r.admission.req.Candidates)); err != nil {
		return err
	}
	if err := r.admission.moveTo(ctx, candidate); err != nil {
		return err
	}
	r.candidate, r.cap = candidate, r.admission.out.Cap
	return nil
}
