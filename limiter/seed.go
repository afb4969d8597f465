package limiter

import (
	"context"
	"sync/atomic"
	"time"
)

// Seed tells what a quota has used since the start of its window, for instance from a ledger, in the
// units of the rule's limit (nano-USD for usd). It must not call the store, and is called from many
// goroutines.
//
// The error is that it can't be told. The request that needs it is then not admitted, and neither are
// those that wait for the same answer: their error is an [*Unavailable] with [ReasonSeed]. The quota
// stays unknown, so that the next request asks again.
type Seed func(rule *Rule, since time.Time) (int64, error)

// notSeeded is the error of a request under a quota of which a Seed can't tell what it has used.
func notSeeded(err error) error { return &Unavailable{Reason: ReasonSeed, Err: err} }

// seedTurn lets one request at a time ask a Seed, for a part of the names. Those that wait meanwhile
// share a failure: a ledger that takes long to fail would else make each of them wait for all before
// it.
type seedTurn struct {
	taken  chan struct{} // holds one while somebody asks
	failed atomic.Pointer[seedFailure]
}

type seedFailure struct {
	name string // of the rule
	err  error
}

func newSeedTurn() seedTurn { return seedTurn{taken: make(chan struct{}, 1)} }

// take waits for the turn to ask for a rule; leave must be called after it. The error is that of ctx,
// or of who asked for the same while this one waited.
func (t *seedTurn) take(ctx context.Context, r *Rule) error {
	before := t.failed.Load()
	select {
	case t.taken <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if f := t.failed.Load(); f != before && f.name == r.name {
		t.leave()
		return f.err
	}
	return nil
}

func (t *seedTurn) leave() { <-t.taken }

// fail notes that a rule's quota can't be seeded, and returns the error for the request.
func (t *seedTurn) fail(r *Rule, err error) error {
	f := &seedFailure{r.name, notSeeded(err)}
	t.failed.Store(f)
	return f.err
}
