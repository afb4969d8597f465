package failover_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/failover"
	"github.com/amanycodes/pine-gate/limiter/redis"
)

// A quota that Redis has lost is seeded by the gate's own Seed, and not charged twice.
func TestRecoverySeedsWhatRedisLost(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	var ledger atomic.Int64
	g := newGuard(t, s.URL, failover.Options{Seed: func(*limiter.Rule, time.Time) (int64, error) { return ledger.Load(), nil }})
	day := ruleOf(t, "alice", "1000 tokens/day")
	use := func(n int64) {
		t.Helper()
		r, ok := g.admits(n, day)
		if !ok {
			t.Fatal("refused")
		}
		r.Settle(context.Background(), used(n, 0))
		ledger.Add(n)
	}
	use(100)
	s.Kill()
	use(50)
	g.waitFor(false)
	use(7)
	s.Restart()
	g.waitFor(true)
	if got := g.left(day); got != 1000-157 {
		t.Errorf("%d are left, want 843", got)
	}
	s.Flush()
	if got := g.left(day); got != 1000-157 {
		t.Errorf("%d are left after a FLUSHALL, want 843", got)
	}
}

// Requests in flight when Redis returns without a quota hold their amounts in it, and return them only
// once: an unsettled request has charged no quota.
func TestRecoveryHoldsInAQuotaThatRedisLost(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	var ledger atomic.Int64
	g := newGuard(t, s.URL, failover.Options{Seed: func(*limiter.Rule, time.Time) (int64, error) { return ledger.Load(), nil }})
	day := ruleOf(t, "alice", "1000 tokens/day")
	r, ok := g.admits(100, day)
	if !ok {
		t.Fatal("refused")
	}
	r.Settle(context.Background(), used(100, 0))
	ledger.Add(100)
	s.Kill()
	inFlight, ok := g.admits(50, day)
	if !ok {
		t.Fatal("refused without Redis")
	}
	g.waitFor(false)
	s.Restart()
	g.waitFor(true)
	if got := g.left(day); got != 1000-100-50 {
		t.Errorf("%d are left while one is in flight, want 850", got)
	}
	inFlight.Settle(context.Background(), used(7, 0))
	ledger.Add(7)
	if err := g.redis.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := g.left(day); got != 1000-107 {
		t.Errorf("%d are left, want 893", got)
	}
}

// Quotas that are seeded again hold nothing of requests in flight before, so that nothing is returned to
// them either.
func TestASeedAnewGivesNothingBackThatItDoesNotHold(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	var ledger atomic.Int64
	var epoch atomic.Uint64
	g := newGuardOf(t, redis.Options{Client: dial(t, redis.ClientOptions{URLs: []string{s.URL}}), Epoch: epoch.Load}, failover.Options{
		Seed: func(*limiter.Rule, time.Time) (int64, error) { return ledger.Load(), nil },
	})
	day := ruleOf(t, "alice", "1000 tokens/day")
	r, ok := g.admits(100, day)
	if !ok {
		t.Fatal("refused")
	}
	r.Settle(context.Background(), used(100, 0))
	ledger.Add(100)
	s.Stop()
	inFlight, ok := g.admits(50, day)
	if !ok {
		t.Fatal("refused without Redis")
	}
	g.waitFor(false)
	s.Cont()
	g.waitFor(true)
	if got := g.left(day); got != 850 {
		t.Errorf("%d are left while one is in flight, want 850", got)
	}
	epoch.Store(1)
	if got := g.left(day); got != 900 {
		t.Errorf("%d are left of a quota that was seeded anew, want 900", got)
	}
	inFlight.Settle(context.Background(), used(7, 0))
	if err := g.redis.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := g.left(day); got != 893 {
		t.Errorf("%d are left, want 893", got)
	}
}

// Redis does not decide again before quotas that it has lost can be seeded, but the wait is bounded.
func TestRedisIsBackWhenQuotasCanBeSeeded(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	const unknown, known, never = 0, 1, 2
	var state, asked atomic.Int64
	away := errors.New("the ledger does not know yet that Redis is back")
	g := newGuard(t, s.URL, failover.Options{
		Seed: func(*limiter.Rule, time.Time) (int64, error) {
			if state.Load() != known {
				return 0, away
			}
			return 100, nil
		},
		Seedable: func(context.Context) error {
			if asked.Add(1); asked.Load() == 3 && state.Load() == unknown {
				state.Store(known)
			}
			if state.Load() != known {
				return away
			}
			return nil
		},
	})
	day, hour := ruleOf(t, "alice", "1000 tokens/day"), ruleOf(t, "alice", "1000 tokens/hour")
	s.Kill()
	g.admits(1, hour)
	g.waitFor(false)
	s.Restart()
	g.waitFor(true)
	if r, ok := g.admits(1, day); ok {
		r.Settle(context.Background(), limiter.Usage{})
	}
	state.Store(never)
	s.Kill()
	g.admits(1, hour)
	g.waitFor(false)
	s.Restart()
	g.waitFor(true)
	if _, ok := g.admits(1, hour); !ok {
		t.Error("a rate is refused")
	}
}

// A ledger that can't be read blocks only the quotas that it seeds: Redis is available.
func TestGuardAdmitsNothingUnderAQuotaThatCantBeSeeded(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	var broken atomic.Bool
	broken.Store(true)
	ledger := errors.New("the ledger can't be read")
	g := newGuard(t, s.URL, failover.Options{
		Seed: func(*limiter.Rule, time.Time) (int64, error) {
			if broken.Load() {
				return 0, ledger
			}
			return 100, nil
		},
		OnError: func(err error) { t.Errorf("got %v", err) },
	})
	undecided := func(rules ...*limiter.Rule) {
		t.Helper()
		for range 3 {
			if _, err := g.ask(1, rules...); !errors.Is(err, limiter.ErrUnavailable) || !errors.Is(err, ledger) {
				t.Errorf("got %v", err)
			}
		}
	}
	day, hour := ruleOf(t, "alice", "1000 tokens/day"), ruleOf(t, "alice", "1000 tokens/hour")
	undecided(day, hour)
	if _, away := g.Away(); away {
		t.Error("Redis is taken to be away")
	}
	if got := g.left(hour); got != 1000 {
		t.Errorf("%d are left of the rate", got)
	}
	broken.Store(false)
	if got := g.left(day); got != 900 {
		t.Errorf("%d are left of the quota", got)
	}
}

func TestSharesAdmitNothingUnderAQuotaThatCantBeSeeded(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	s.Kill()
	var broken atomic.Bool
	broken.Store(true)
	ledger := errors.New("the ledger can't be read")
	g := newGuard(t, s.URL, failover.Options{
		Seed: func(*limiter.Rule, time.Time) (int64, error) {
			if broken.Load() {
				return 0, ledger
			}
			return 100, nil
		},
	})
	g.waitFor(false)
	budget, hour := ruleOf(t, "alice", "10 usd/month"), ruleOf(t, "alice", "1000 tokens/hour")
	for range 3 {
		if _, err := g.ask(1, budget, hour); !errors.Is(err, limiter.ErrUnavailable) || !errors.Is(err, ledger) {
			t.Errorf("got %v", err)
		}
	}
	if _, ok := g.admits(1, hour); !ok {
		t.Error("a rate waits for the ledger")
	}
	broken.Store(false)
	if got := g.left(budget); got != 10e9-100 {
		t.Errorf("%d are left of the budget", got)
	}
}
