package limiter

import (
	"context"
	"crypto/rand"
	"errors"
	"net"

	"github.com/redis/go-redis/v9"
)

var errClosed = &Unavailable{Reason: ReasonClosed, Err: errors.New("the store was closed")}

// Reserve implements [Limiter]. An error that is neither a *Refusal nor that of ctx is ErrUnavailable.
// An ID that was used already returns what was reserved by it.
func (r *Redis) Reserve(ctx context.Context, req Request) (Reservation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.closed.Load() {
		return nil, errClosed
	}
	if req.ID == "" {
		req.ID = rand.Text()
	}
	res := &redisReservation{store: r, req: req.normalised()}
	res.out = res.req.wanted()
	a := &ask{mode: luaReserve, id: req.ID, req: &res.req, out: res.out, common: distinct(req.Rules, nil)}
	a.candidates = make([][]*Rule, len(req.Candidates))
	limited := len(a.common) > 0
	for i, rules := range req.Candidates {
		a.candidates[i] = distinct(rules, a.common)
		limited = limited || len(a.candidates[i]) > 0
	}
	if !limited {
		r.open.add(res)
		return res, nil
	}
	if refusal := r.overLimit.refusal(&res.req, a.common); refusal != nil {
		return nil, refusal
	}
	got, err := r.decide(ctx, a)
	if err != nil {
		r.overLimit.add(err, a.common)
		return nil, err
	}
	res.candidate, res.out, res.at, res.movedAt = got.candidate, got.out, got.at, got.at
	res.common, res.own = got.common, got.own
	r.open.add(res)
	return res, nil
}

// distinct returns the rules without those whose counter one of seen, or of them before it, has.
func distinct(rules, seen []*Rule) []*Rule {
	out := rules[:0:0]
next:
	for _, rule := range rules {
		for _, s := range seen {
			if s.name == rule.name {
				continue next
			}
		}
		for _, s := range out {
			if s.name == rule.name {
				continue next
			}
		}
		out = append(out, rule)
	}
	return out
}

// decide runs the admission script and, if Redis asks for quota seeds, runs it again with them. The error
// is a *Refusal, ErrSettled, that of ctx, or ErrUnavailable; then nothing is held, or not for long.
func (r *Redis) decide(ctx context.Context, a *ask) (*answer, error) {
	got, err := r.send(ctx, a, nil)
	if err == nil && got.status == luaUnseeded {
		got, err = r.seed(ctx, a, got)
	}
	switch {
	case err != nil:
	case got.bad:
		err = errReply
	case got.status == luaRefused:
		return nil, got.refusal
	case got.status == luaGivenUp:
		return nil, ErrSettled
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

// mayHaveRun reports whether Redis may run, or have run, a script whose answer was lost. One that had no
// seed has taken nothing.
func mayHaveRun(err error) bool {
	var answered redis.Error
	var dialled *net.OpError
	return !errors.As(err, &answered) && !errors.As(err, new(errQueued)) && !errors.As(err, new(*Unavailable)) &&
		(!errors.As(err, &dialled) || dialled.Op != "dial")
}

// Peek implements [Limiter]. The error is that of ctx or ErrUnavailable.
func (r *Redis) Peek(ctx context.Context, rules []*Rule) ([]State, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.closed.Load() {
		return nil, errClosed
	}
	if len(rules) == 0 {
		return []State{}, nil
	}
	got, err := r.decide(ctx, &ask{mode: luaPeek, id: "-", req: new(Request), common: distinct(rules, nil)})
	if err != nil {
		return nil, err
	}
	found := make(map[string]hold, len(got.common))
	for _, h := range got.common {
		found[h.rule.name] = h
	}
	all := make([]State, len(rules))
	for i, rule := range rules {
		h := found[rule.name]
		h.rule = rule
		all[i] = h.state(got.at)
	}
	return all, nil
}
