package limitertest

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/amanycodes/pine-gate/limiter"
)

// crowd calls f from that many goroutines, which start together.
func crowd(goroutines int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range goroutines {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

var stormTests = []test{
	{"admits exactly the limit", func(g *gate) {
		for _, words := range []string{"100 requests/hour", "100 requests/day", "100 concurrent"} {
			rules := []*limiter.Rule{keyRule(words), limiter.NewRule(limiter.ScopeTeam, words, limit("1000k requests/hour"))}
			var admitted, refused atomic.Int64
			crowd(50, func(int) {
				for range 20 {
					if _, err := g.reserve(plain(rules...)); err == nil {
						admitted.Add(1)
					} else {
						refused.Add(1)
					}
				}
			})
			equal(g, words, admitted.Load(), 100)
			equal(g, "refused by "+words, refused.Load(), 900)
			g.remaining(rules[1], 1_000_000-100)
		}
	}},
	{"admits one of 200 to a budget for one", func(g *gate) {
		rule := keyRule("1 usd/month")
		var admitted, reserved atomic.Int64
		crowd(200, func(int) {
			// The input takes 0.6 USD, and the output what is left: two inputs do not fit.
			_, err := g.reserve(priced(600_000_000, 1_000_000, 1000, rule))
			if err == nil {
				admitted.Add(1)
			} else if g.refusal(err).Reserved {
				reserved.Add(1)
			}
		})
		equal(g, "admitted", admitted.Load(), 1)
		equal(g, "refused for what is reserved", reserved.Load(), 199)
	}},
	{"never has more in flight than permits", func(g *gate) {
		rules := []*limiter.Rule{keyRule("4 concurrent"), limiter.NewRule(limiter.ScopeTeam, "crew", limit("3 concurrent"))}
		var inFlight, most, admitted atomic.Int64
		crowd(16, func(i int) {
			for range 100 {
				// In either order: a store that locks in the order of the rules would deadlock.
				r, err := g.reserve(plain(rules[i%2], rules[1-i%2]))
				if err != nil {
					continue
				}
				n := inFlight.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				admitted.Add(1)
				inFlight.Add(-1)
				settle(r, used(1, 1))
				settle(r, used(1, 1))
			}
		})
		if most.Load() > 3 || admitted.Load() == 0 {
			g.Fatalf("%d in flight at once, %d admitted", most.Load(), admitted.Load())
		}
		g.remaining(rules[0], 4)
		g.remaining(rules[1], 3)
	}},
	{"loses nothing in a crowd of everything", func(g *gate) {
		key := keyRule("1000k tokens/hour")
		quota := keyRule("1000k tokens/day")
		a, b := backend("a", "5 concurrent"), backend("b", "6 concurrent", "1000k requests/hour")
		var charged, attempts atomic.Int64
		crowd(16, func(i int) {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for range 100 {
				r, err := g.reserve(over(chat(random.Int64N(50), 50, 50, key, quota), a, b))
				if err != nil {
					continue
				}
				if r.Candidate() == 1 {
					attempts.Add(1)
				}
				for range random.IntN(3) {
					candidate := random.IntN(2)
					if r.Move(context.Background(), candidate) == nil && candidate == 1 {
						attempts.Add(1)
					}
				}
				input, output := random.Int64N(60), random.Int64N(50)
				crowd(2, func(int) { settle(r, used(input, output)) })
				charged.Add(input + output)
			}
		})
		if charged.Load() == 0 || attempts.Load() == 0 {
			g.Fatal("nothing was admitted")
		}
		g.remaining(key, 1_000_000-charged.Load())
		g.remaining(quota, 1_000_000-charged.Load())
		g.remaining(a[0], 5)
		g.remaining(b[0], 6)
		g.remaining(b[1], 1_000_000-attempts.Load())
	}},
}
