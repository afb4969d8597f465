package limiter

import (
	"context"
	"errors"
)

// reserveHot reserves from a slice where there is one that has room, else in Redis. What this gate's own
// slices have must stand in nobody's way: where it may, they are given back first and Redis is asked again.
func (r *Redis) reserveHot(ctx context.Context, req Request) (Reservation, error) {
	sliced, path := r.hot.spend(&req)
	if sliced != nil {
		return sliced, nil
	}
	returned := r.hot.returned(req.Rules)
	res, err := r.reserve(ctx, req)
	r.hot.expireLately(req.Rules)
	if held := r.hot.inTheWay(&req, res, err, returned); len(held) > 0 {
		if r.hot.recall(ctx, held) == nil {
			if res != nil {
				res.Settle(ctx, Actual{})
				_ = r.hot.flush(ctx) // or what it had is reserved a little longer
				req.ID += "/again"
			}
			res, err = r.reserve(ctx, req)
		}
	}
	if err != nil {
		if refusal := new(Refusal); errors.As(err, &refusal) {
			r.addUnspentTo(refusal.States)
		}
		return nil, err
	}
	if path != nil {
		path.see(res.common, r.hot.now())
	}
	r.addUnspent(res.common)
	return res, nil
}

// inTheWay returns the rules that a request lacked which was refused, or whose cap was lowered, and of which
// this gate has something in slices, or has given it back since so much had returned: without that, Redis would
// say something else.
func (s *hotKeys) inTheWay(req *Request, res *redisReservation, err error, returned uint64) (held []*Rule) {
	holds := func(rule *Rule) bool { return s.has(rule) || s.returned(req.Rules) != returned }
	if res != nil {
		if res.out.cap < 0 {
			return nil
		}
		for _, rule := range req.Rules {
			if rule.Limit.Window.Quota() && holds(rule) {
				held = append(held, rule)
			}
		}
		return held
	}
	refusal := new(Refusal)
	if !errors.As(err, &refusal) || refusal.TooLarge {
		return nil
	}
	for i := range refusal.States {
		state := &refusal.States[i]
		total := req.wanted().total
		if state.Rule.Limit.Window.Quota() {
			total = req.least()
		}
		if need, _ := req.need(state.Rule.Limit, total); need == 0 || need <= state.Remaining {
			continue
		}
		if holds(state.Rule) {
			held = append(held, state.Rule)
		}
	}
	return held
}

// has reports whether slices have something of a rule, or are about to, or Redis does not know yet that they
// have not.
func (s *hotKeys) has(rule *Rule) bool {
	s.mu.Lock()
	shared := s.rules[rule.name]
	s.mu.Unlock()
	if shared == nil {
		return false
	}
	if shared.holds() {
		return true
	}
	for p := range s.touching([]*Rule{rule}) {
		p.mu.Lock()
		coming := p.fetching != nil || p.coming() != nil
		p.mu.Unlock()
		if coming {
			return true
		}
	}
	return false
}

// addUnspent adds to what Redis has of limits what this gate has in slices.
func (r *Redis) addUnspent(holds []hold) {
	if r.hot == nil {
		return
	}
	for i := range holds {
		if n := r.hot.unspent(holds[i].rule); n != 0 {
			holds[i].add(n)
		}
	}
}

// addUnspentTo is addUnspent for states.
func (r *Redis) addUnspentTo(all []State) {
	for i := range all {
		n := r.hot.unspent(all[i].Rule)
		if n == 0 {
			continue
		}
		all[i].Remaining += n
		if l := all[i].Rule.Limit; l.Window.Rate() {
			all[i].Reset = max(all[i].Reset-fillTime(n, 0, l), 0)
		}
	}
}

// flush waits until Redis knows all that was settled.
func (r *Redis) flush(ctx context.Context) error {
	if r.hot != nil {
		r.hot.tell()
	}
	return r.settler.flush(ctx)
}
