package account

import (
	"context"
	"sync/atomic"

	"github.com/amanycodes/pine-gate/limiter"
)

// notSeeded is the error of a request under a quota of which a Seed does not return what it has used.
func notSeeded(err error) error { return &limiter.Unavailable{Reason: limiter.ReasonSeed, Err: err} }

// SeedTurn lets one request at a time ask a Seed, for a part of the names. Those that wait meanwhile
// share a failure: a ledger that takes long to fail would else make each of them wait for all before
// it.
type SeedTurn struct {
	taken  chan struct{} // holds one while somebody asks
	failed atomic.Pointer[seedFailure]
}

type seedFailure struct {
	name string // of the rule
	err  error
}

func NewSeedTurn() SeedTurn { return SeedTurn{taken: make(chan struct{}, 1)} }

// Take waits for the turn to ask for a rule; leave must be called after it. The error is that of ctx,
// or of who asked for the same while this one waited.
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

// Fail notes that a rule's quota can't be seeded, and returns the error for the request.
func (t *SeedTurn) Fail(r *limiter.Rule, err error) error {
	f := &seedFailure{r.Name(), notSeeded(err)}
	t.failed.Store(f)
	return f.err
}
