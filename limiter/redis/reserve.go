package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

var errClosed = &limiter.Unavailable{Reason: limiter.ReasonClosed, Err: errors.New("the store was closed")}

// Reserve implements [limiter.Limiter]. An error that is neither a *Refusal nor that of ctx is ErrUnavailable.
// For an ID that was used already, it returns the existing reservation.
func (r *Store) Reserve(ctx context.Context, req limiter.Request) (limiter.Reservation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.closed.Load() {
		return nil, errClosed
	}
	if req.ID == "" {
		req.ID = rand.Text()
	}
	res := &Reservation{store: r, req: account.NewDemand(req)}
	res.out = res.req.Wanted()
	a := &ask{mode: luaReserve, id: req.ID, req: &res.req, out: res.out, common: account.Distinct(req.Rules, nil)}
	a.candidates = make([][]*limiter.Rule, len(req.Candidates))
	limited := len(a.common) > 0
	for i, rules := range req.Candidates {
		a.candidates[i] = account.Distinct(rules, a.common)
		limited = limited || len(a.candidates[i]) > 0
	}
	if !limited {
		r.open.add(res)
		return res, nil
	}
	if refusal := r.overLimit.refusal(&res.req, a.common); refusal != nil {
		return nil, refusal
	}
	before := r.overLimit.settlements(a.common)
	got, err := r.decide(ctx, a)
	if err != nil {
		r.overLimit.add(err, a.common, before)
		return nil, err
	}
	res.candidate, res.out, res.at, res.movedAt = got.candidate, got.out, got.at, got.at
	res.common, res.own = got.common, got.own
	r.open.add(res)
	return res, nil
}

// decide runs the admission script and, if Redis asks for quota seeds, runs it again with them. The error
// is a *Refusal, ErrSettled, that of ctx, or ErrUnavailable; then nothing is held, or not for long.
func (r *Store) decide(ctx context.Context, a *ask) (*answer, error) {
	got, err := r.send(ctx, a, nil)
	if err == nil && got.status == luaUnseeded {
		got, err = r.seed(ctx, a, got)
	}
	switch {
	case err != nil:
	case got.bad:
		err = errReply
	case got.damaged != nil:
		return nil, r.damaged(got.damaged)
	case got.status == luaRefused:
		return nil, got.refusal
	case got.status == luaGivenUp:
		return nil, limiter.ErrSettled
	default:
		return got, nil
	}
	if a.mode == luaReserve && mayHaveRun(err) {
		r.settler.add(settlement{id: a.id, givenUp: true})
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, r.failed(err)
}

// damaged returns the error of a request under a rule whose counter in Redis has a value that no gate wrote.
// It reports the error, too, because the rest of Redis is available and nobody else does.
func (r *Store) damaged(rule *limiter.Rule) error {
	err := &limiter.Unavailable{Reason: limiter.ReasonDamaged, Err: fmt.Errorf("the value of %s is damaged: delete the key", r.counterKey(rule))}
	r.opts.OnError(err)
	return err
}

// mayHaveRun reports whether Redis may run, or have run, the script despite err. After a failed Seed it
// has taken nothing.
func mayHaveRun(err error) bool {
	var answered redis.Error
	var dialled *net.OpError
	return !errors.As(err, &answered) && !errors.As(err, new(errQueued)) && !errors.As(err, new(*limiter.Unavailable)) &&
		(!errors.As(err, &dialled) || dialled.Op != "dial")
}

// Peek implements [limiter.Limiter]. The error is that of ctx or ErrUnavailable.
func (r *Store) Peek(ctx context.Context, rules []*limiter.Rule) ([]limiter.State, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.closed.Load() {
		return nil, errClosed
	}
	if len(rules) == 0 {
		return []limiter.State{}, nil
	}
	got, err := r.decide(ctx, &ask{mode: luaPeek, id: "-", req: new(account.Demand), common: account.Distinct(rules, nil)})
	if err != nil {
		return nil, err
	}
	found := make(map[string]account.Hold, len(got.common))
	for _, h := range got.common {
		found[h.Rule.Name()] = h
	}
	all := make([]limiter.State, len(rules))
	for i, rule := range rules {
		h := found[rule.Name()]
		h.Rule = rule
		all[i] = h.State(got.at)
	}
	return all, nil
}
