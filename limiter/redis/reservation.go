package redis

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// Reservation is the limiter.Reservation of a [Store]. Its holds are in Redis, under its id; its fields
// are the states at the time when they were taken.
type Reservation struct {
	store *Store
	req   account.Demand

	mu        sync.Mutex // guards the fields below
	settled   bool
	candidate int
	out       account.Output
	common    []account.Hold // of the request's own rules
	own       []account.Hold // of the candidate's
	at        account.Instant
	movedAt   account.Instant
	renewed   time.Time // on the gate's clock
}

// Seen returns the states of the request's own rules and of the candidate's when they were reserved.
func (r *Reservation) Seen() (common, own []account.Hold) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.common, r.own
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
	return r.out.Cap
}

// States implements [limiter.Reservation].
func (r *Reservation) States() []limiter.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := account.States(make([]limiter.State, 0, len(r.common)+len(r.own)), r.common, r.at)
	return account.States(all, r.own, r.movedAt)
}

// Settle implements [limiter.Reservation]. It does not block: the settlement is delivered in the
// background.
func (r *Reservation) Settle(_ context.Context, used limiter.Usage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return
	}
	r.settled = true
	r.store.open.remove(r)
	if len(r.common)+len(r.own) > 0 {
		holds := append(r.common[:len(r.common):len(r.common)], r.own...)
		r.store.settler.add(settlement{id: r.req.ID, used: used, holds: holds})
	}
}

// Move implements [limiter.Reservation]. It is one call. After ErrUnavailable the reservation is
// unchanged, or holds the new candidate's part instead of the old one's; settling it is correct in both
// cases.
func (r *Reservation) Move(ctx context.Context, candidate int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return limiter.ErrSettled
	}
	if err := account.CheckCandidate(candidate, len(r.req.Candidates)); err != nil {
		return err
	}
	if r.store.closed.Load() {
		return errClosed
	}
	var rules []*limiter.Rule
	if candidate < len(r.req.Candidates) {
		rules = account.Distinct(r.req.Candidates[candidate], account.Distinct(r.req.Rules, nil))
	}
	if len(rules) == 0 && len(r.own) == 0 {
		r.candidate = candidate
		return nil
	}
	got, err := r.store.decide(ctx, &ask{mode: luaMove, id: r.req.ID, req: &r.req, out: r.out, candidates: [][]*limiter.Rule{rules}})
	if err != nil {
		if refusal := new(limiter.Refusal); errors.As(err, &refusal) {
			refusal.States = append(account.States(nil, r.common, r.at), refusal.States...)
		}
		return err
	}
	r.own, r.out, r.movedAt = got.own, got.out, got.at
	r.candidate = candidate
	return nil
}
