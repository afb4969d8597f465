package limiter

import (
	"context"
	"errors"
	"sync"
	"time"
)

// redisReservation is a Reservation of Redis. What it holds is in Redis, by its id; what is here is
// what was seen when it was taken.
type redisReservation struct {
	store *Redis
	req   Request

	mu        sync.Mutex // guards what follows
	settled   bool
	candidate int
	out       output
	common    []hold // of the request's own rules
	own       []hold // of the candidate's
	at        instant
	movedAt   instant
	renewed   time.Time // on the gate's clock
}

// Candidate implements [Reservation].
func (r *redisReservation) Candidate() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.candidate
}

// Cap implements [Reservation].
func (r *redisReservation) Cap() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.cap
}

// States implements [Reservation].
func (r *redisReservation) States() []State {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := states(make([]State, 0, len(r.common)+len(r.own)), r.common, r.at)
	return states(all, r.own, r.movedAt)
}

// Settle implements [Reservation]. It does not wait: the settlement is delivered in the background.
func (r *redisReservation) Settle(_ context.Context, used Actual) {
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

// Move implements [Reservation]. It is one call. After ErrUnavailable the reservation is as it was, or holds the other candidate's part in
// the place of its own; settling it is right for both.
func (r *redisReservation) Move(ctx context.Context, candidate int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return ErrSettled
	}
	if err := r.req.checkCandidate(candidate); err != nil {
		return err
	}
	if r.store.closed.Load() {
		return errClosed
	}
	var rules []*Rule
	if candidate < len(r.req.Candidates) {
		rules = distinct(r.req.Candidates[candidate], distinct(r.req.Rules, nil))
	}
	if len(rules) == 0 && len(r.own) == 0 {
		r.candidate = candidate
		return nil
	}
	got, err := r.store.decide(ctx, &ask{mode: luaMove, id: r.req.ID, req: &r.req, out: r.out, candidates: [][]*Rule{rules}})
	if err != nil {
		if refusal := new(Refusal); errors.As(err, &refusal) {
			refusal.States = append(states(nil, r.common, r.at), refusal.States...)
		}
		return err
	}
	r.own, r.out, r.movedAt = got.own, got.out, got.at
	r.candidate = candidate
	return nil
}
