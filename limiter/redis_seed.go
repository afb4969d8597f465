package limiter

import (
	"context"
	"errors"
	"time"
)

var errSeed = errors.New("a quota's window changed whenever it was seeded")

// seed asks Seed what was used of the quotas that Redis does not know, and runs the script again. Of many
// requests for one quota that come at the same time to a gate, one asks; where it fails, nothing is
// taken anywhere.
func (r *Redis) seed(ctx context.Context, a *ask, got *answer) (*answer, error) {
	first := got.reply
	rule := a.rule(first.number())
	turn := &r.seeding[rule.hash%uint64(len(r.seeding))]
	if err := turn.take(ctx, rule); err != nil {
		return nil, err
	}
	defer turn.leave()
	seeds := map[int]seed{}
	for range 4 {
		got, err := r.send(ctx, a, seeds)
		if err != nil || got.status != luaUnseeded {
			return got, err
		}
		for got.more() {
			i, start := got.number(), got.number()
			rule := a.rule(i)
			used, err := r.opts.Seed(rule, time.UnixMicro(start).UTC())
			if err != nil {
				return nil, turn.fail(rule, err)
			}
			seeds[int(i)] = seed{used: float64(clamp(used)), since: float64(start)}
		}
	}
	return nil, errSeed
}
