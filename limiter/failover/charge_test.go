package failover_test

import (
	"context"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/failover"
	"github.com/amanycodes/pine-gate/limiter/redis"
)

// A charge counts once for its id, even without room, on a single Redis and on a Cluster.
func TestChargesCountOnce(t *testing.T) {
	for name, urls := range map[string]func(t *testing.T) []string{
		"one Redis": func(t *testing.T) []string { return []string{redistest.Standalone(t, redistest.Options{}).URL} },
		"a Cluster": func(t *testing.T) []string { return redistest.Cluster(t).URLs() },
	} {
		t.Run(name, func(t *testing.T) {
			store := redis.New(redis.Options{
				Client: dial(t, redis.ClientOptions{URLs: urls(t)}), Timeout: 5 * time.Second,
				OnError: func(err error) { t.Error("in the background:", err) },
			})
			defer store.Close()
			ctx := context.Background()
			limit := ruleOf(t, "x", "100 tokens/hour").Limit
			rules := []*limiter.Rule{
				ruleOf(t, "alice", "100 tokens/hour"), ruleOf(t, "alice", "100 tokens/day"), ruleOf(t, "alice", "10 requests/day"),
				limiter.NewRule(limiter.ScopeModel, "m", limit), limiter.NewRule(limiter.ScopeBackend, "b", limit),
				ruleOf(t, "alice", "5 concurrent"),
			}
			left := func(step string, want ...int64) {
				t.Helper()
				if err := store.Flush(ctx); err != nil {
					t.Fatal(err)
				}
				all, err := store.Peek(ctx, rules)
				if err != nil {
					t.Fatal(err)
				}
				for i, s := range all {
					slack := int64(0)
					if s.Rule.Limit.Window.Rate() {
						slack = 1 // it fills by one in 36 s
					}
					if s.Remaining < want[i] || s.Remaining > want[i]+slack {
						t.Errorf("%s: %s has %d left, want %d", step, s.Rule.Name(), s.Remaining, want[i])
					}
				}
			}
			// So that Redis knows the quotas.
			r, err := store.Reserve(ctx, limiter.Request{ID: "first", Rules: rules, N: 1})
			if err != nil {
				t.Fatal(err)
			}
			r.Settle(ctx, limiter.Usage{})
			left("nothing used", 100, 100, 10, 100, 100, 5)
			for range 3 {
				store.Charge("one", holdsOf(rules, 0), used(20, 10))
			}
			left("charged", 70, 70, 9, 70, 70, 5)
			tokens := []*limiter.Rule{rules[0], rules[1], rules[3], rules[4]}
			for range 2 {
				store.Hold("two/held", holdsOf(tokens, 40))
			}
			left("held", 30, 30, 9, 30, 30, 5)
			for range 2 {
				store.Charge("two/used", holdsOf(tokens, 40), used(3, 2))
			}
			left("used less", 65, 65, 9, 65, 65, 5)
			store.Charge("none", holdsOf(rules, 0), limiter.Usage{})
			store.Charge("failed", holdsOf(rules, 0), limiter.Usage{Dispatched: true, Failed: true})
			left("a request that failed", 65, 65, 8, 65, 65, 5)
			store.Charge("more than there is", holdsOf(rules, 0), used(1000, 0))
			left("overdrawn", 0, 0, 7, 0, 0, 5)
		})
	}
}

// Redis is stopped and keeps its data: three gates admit at most a burst more than the limit, and the
// bucket owes the excess afterwards. No more new permits than the limit are taken.
func TestStoppedRedisCostsAtMostOneBurst(t *testing.T) {
	const limit = 30
	s := redistest.Standalone(t, redistest.Options{})
	all := threeGuards(t, s.URL, failover.Options{})
	rate, places := ruleOf(t, "alice", "30 requests/hour"), ruleOf(t, "alice", "9 concurrent")
	first, inFlight := int64(0), 0
	for i := range 2 * limit { // two gates take it all, the third sees the first ten
		g := all[i%2]
		if i < 10 {
			g = all[2]
		}
		if r, ok := g.admits(1, rate); ok {
			first++
			r.Settle(context.Background(), used(1, 0))
		}
		if _, ok := g.admits(1, places); ok {
			inFlight++
		}
	}
	if first != limit || inFlight != 9 {
		t.Fatalf("%d requests and %d places with Redis", first, inFlight)
	}
	s.Stop()
	var more int64
	shared := 0
	for _, g := range all {
		more += g.drain(1, rate)
		for range limit {
			if _, ok := g.admits(1, places); ok {
				shared++
			}
		}
		g.waitFor(false)
	}
	if more > (limit-10)/3+1 || shared != 9 {
		t.Errorf("%d requests and %d places without Redis", more, shared)
	}
	s.Cont()
	for _, g := range all {
		g.waitFor(true)
	}
	for _, g := range all {
		if n := g.drain(1, rate); n > 0 {
			t.Errorf("%d were admitted while the excess is owed", n)
		}
	}
}
