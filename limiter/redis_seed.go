package limiter

import (
	"context"
	"errors"
	"time"
)

var errSeed = errors.New("a quota's window changed whenever it was seeded")

// seed asks what was used of the quotas that Redis does not know, and makes the call again. Of many
// requests for one quota that come at the same time to a gate, one asks.
func (r *Redis) seed(ctx context.Context, a *ask, got *answer) (*answer, error) {
	first := got.reply
	turn := r.seeding[a.rule(first.number()).hash%uint64(len(r.seeding))]
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	seeds := map[int]seed{}
	for range 4 {
		got, err := r.send(ctx, a, seeds)
		if err != nil || got.status != luaUnseeded {
			return got, err
		}
		for got.more() {
			i, start := got.number(), got.number()
			used := r.opts.Seed(a.rule(i), time.UnixMicro(start).UTC())
			seeds[int(i)] = seed{used: float64(clamp(used)), since: float64(start)}
		}
	}
	return nil, errSeed
}

// rule returns the rule of a number.
func (a *ask) rule(n int64) (rule *Rule) {
	a.rules(func(i int, r *Rule) {
		if int64(i) == n {
			rule = r
		}
	})
	return rule
}
