package redis

import (
	"context"
	"errors"
	"time"

	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

var errSeed = errors.New("a quota's window changed whenever it was seeded")

// seed asks Seed what was used of the quotas that Redis does not know, and runs the script again. Of many
// requests for one quota that come at the same time to a gate, one asks; where it fails, nothing is
// taken anywhere.
func (r *Store) seed(ctx context.Context, a *ask, got *answer) (*answer, error) {
	first := got.reply
	rule := a.rule(first.number())
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
		for got.more() {
			i, start := got.number(), got.number()
			rule := a.rule(i)
			used, err := r.opts.Seed(rule, time.UnixMicro(start).UTC())
			if err != nil {
				return nil, turn.Fail(rule, err)
			}
			seeds[int(i)] = seed{used: float64(account.ClampAmount(used)), since: float64(start)}
		}
	}
	return nil, errSeed
}
