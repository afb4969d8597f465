package account

import (
	"context"
	"sync/atomic"

	"github.com/amanycodes/pine-gate/limiter"
)

// notSeeded returns the error of a request under a quota whose Seed failed.
func notSeeded(err error) error { return &limiter.Unavailable{Reason: limiter.ReasonSeed, Err: err} }

// SeedTurn lets one request at a time call a Seed, for a part of the names. Requests that wait for the
// turn share a failure: otherwise each would wait for the timeouts of all before it.
type SeedTurn struct {
	taken  chan struct{} // holds one while a request calls the Seed
	failed atomic.Pointer[seedFailure]
}

type seedFailure struct {
	name string // of the rule
	err  error
}

func NewSeedTurn() SeedTurn { return SeedTurn{taken: make(chan struct{}, 1)} }

// Take waits for the turn to seed a rule. Leave must be called afterwards, unless Take fails. The error
// is that of ctx, or the failure of a request that seeded the same rule in the meantime.
func (t *SeedTurn) Take(ctx context.Context, r *limiter.Rule) error {
	before := t.failed.Load()
	select {
	case t.taken <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if f := t.failed.Load(); f != before && f.name == r.Name() {
		t.Leave()
		return f.err
	}
	return nil
}

func (t *SeedTurn) Leave() { <-t.taken }

// Fail records that a rule's quota can't be seeded, and returns the error for the request.
func (t *SeedTurn) Fail(r *limiter.Rule, err error) error {
	f := &seedFailure{r.Name(), notSeeded(err)}
	t.failed.Store(f)
	return f.err
}
