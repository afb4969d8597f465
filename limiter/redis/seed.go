package redis

import (
	"context"
	"errors"
	"time"

	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

var errSeed = errors.New("a quota's window changed whenever it was seeded")

// seed calls Seed for the quotas that Redis does not have, and runs the script again. Of concurrent
// requests for one quota in this gate, one calls Seed. If Seed fails, nothing is taken.
func (r *Store) seed(ctx context.Context, a *ask, got *answer) (*answer, error) {
	rule := a.rule(got.unseeded[0].rule)
	turn := &r.seeding[rule.Hash()%uint64(len(r.seeding))]
	if err := turn.Take(ctx, rule); err != nil {
		return nil, err
	}
	defer turn.Leave()
	seeds := map[int]seed{}
	for range 4 {
		got, err := r.send(ctx, a, seeds)
		if err != nil || got.status != luaUnseeded {
			return got, err
		}
		for _, q := range got.unseeded {
			rule := a.rule(q.rule)
			used, err := r.opts.Seed(rule, time.UnixMicro(q.start).UTC())
			if err != nil {
				return nil, turn.Fail(rule, err)
			}
			seeds[int(q.rule)] = seed{used: float64(account.ClampAmount(used)), since: float64(q.start)}
		}
	}
	return nil, errSeed
}
