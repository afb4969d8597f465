package limitertest

import (
	"context"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// scopes returns rules of a key, its team and a model.
func scopes(key, team, model string) []*limiter.Rule {
	return []*limiter.Rule{
		limiter.NewRule(limiter.ScopeKey, "alice", limit(key)),
		limiter.NewRule(limiter.ScopeTeam, "crew", limit(team)),
		limiter.NewRule(limiter.ScopeModel, "m-*", limit(model)),
	}
}

var togetherTests = []test{
	{"takes all or nothing", func(g *gate) {
		for _, scarce := range []string{"1 requests/hour", "1 requests/month", "1 concurrent"} {
			rules := append(scopes("100k tokens/minute", "100 requests/day", "50 concurrent"),
				limiter.NewRule(limiter.ScopeModel, scarce, limit("9 requests/hour")),
				limiter.NewRule(limiter.ScopeModel, scarce, limit(scarce)))
			if scarce == "1 requests/hour" {
				rules = append(rules[:3], rules[4])
			}
			req := chat(10, 20, 20, rules...)
			req.Candidates = [][]*limiter.Rule{backend("b", "90 requests/minute", "7 concurrent")}
			all := append(append([]*limiter.Rule(nil), rules...), req.Candidates[0]...)
			r := g.admit(req)
			before, err := g.store.Peek(context.Background(), all)
			equal(g, "error", err, nil)
			for range 5 {
				g.refuse(req)
			}
			after, err := g.store.Peek(context.Background(), all)
			equal(g, "error", err, nil)
			for i := range all {
				equal(g, "state beside "+scarce, after[i], before[i])
			}
			settle(r, limiter.Usage{})
			for i := range all {
				g.remaining(all[i], all[i].Limit.Amount)
			}
		}
	}},
	{"names the rule that frees last", func(g *gate) {
		rules := scopes("60 requests/minute burst 1", "1 requests/hour", "1 concurrent")
		first := g.admit(plain(rules...))
		equal(g, "rule", g.refuse(plain(rules...)).Rule, rules[1])
		g.advance(time.Hour)
		refusal := g.refuse(plain(rules...))
		equal(g, "rule", refusal.Rule, rules[2])
		settle(first, used(1, 1))
		settle(g.admit(plain(rules...)), limiter.Usage{Dispatched: true})
		g.advance(500 * time.Millisecond)
		equal(g, "retry", g.refuse(plain(rules...)).RetryAfter, time.Hour-500*time.Millisecond)
	}},
	{"names what is too large before what is full", func(g *gate) {
		rules := scopes("60 requests/minute burst 1", "100 tokens/minute", "1 concurrent")
		g.admit(chat(1, 1, 1, rules...))
		refusal := g.refuse(chat(101, 1, 1, rules...))
		equal(g, "rule", refusal.Rule, rules[1])
		equal(g, "too large", refusal.TooLarge, true)
	}},
	{"returns the states of all rules in order", func(g *gate) {
		rules := scopes("60 requests/minute", "1000 tokens/minute", "2 concurrent")
		req := chat(100, 20, 20, rules...)
		req.Candidates = [][]*limiter.Rule{backend("b", "5 concurrent")}
		want := []limiter.State{
			{Rule: rules[0], Limit: 60, Remaining: 59, Reset: time.Second},
			{Rule: rules[1], Limit: 1000, Remaining: 880, Reset: 7200 * time.Millisecond},
			{Rule: rules[2], Limit: 2, Remaining: 1},
			{Rule: req.Candidates[0][0], Limit: 5, Remaining: 4},
		}
		r := g.admit(req)
		states := r.States()
		equal(g, "states", len(states), len(want))
		for i := range want {
			equal(g, "state", states[i], want[i])
		}
		g.admit(req)
		equal(g, "state of the first when the second is there", r.States()[0], want[0])
		refusal := g.refuse(req)
		equal(g, "states of the refusal", len(refusal.States), len(want))
		equal(g, "state of the refusal", refusal.States[3].Remaining, 3)
	}},
	{"counts a request once for two rules of one name", func(g *gate) {
		a, b := keyRule("3 requests/hour"), keyRule("3 requests/hour")
		n, _ := g.admitAll(plain(a, b))
		equal(g, "admitted", n, 3)
	}},
	{"keeps keys, teams, models and backends of one id apart", func(g *gate) {
		for _, kind := range []limiter.ScopeKind{limiter.ScopeKey, limiter.ScopeTeam, limiter.ScopeModel, limiter.ScopeBackend} {
			for _, id := range []string{"a", "b", "a/requests", "a/tokens/minute"} {
				for _, words := range []string{"1 requests/minute", "1 requests/hour", "1 tokens/minute", "1 concurrent"} {
					g.admit(chat(1, 0, 0, limiter.NewRule(kind, id, limit(words))))
				}
			}
		}
	}},
	{"admits a request without rules", func(g *gate) {
		r := g.admit(limiter.Request{})
		equal(g, "candidate", r.Candidate(), 0)
		equal(g, "cap", r.Cap(), int64(-1))
		equal(g, "states", len(r.States()), 0)
		settle(r, used(1, 1))
	}},
	{"takes nothing for a caller who is gone", func(g *gate) {
		rule := keyRule("1 requests/hour")
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		req := plain(rule)
		req.ID = "gone"
		if r, err := g.store.Reserve(gone, req); err == nil {
			r.Settle(gone, limiter.Usage{}) // a store may not notice
		}
		g.remaining(rule, 1)
	}},
	{"peeks without taking", func(g *gate) {
		rules := scopes("60 requests/minute", "1000 tokens/month", "2 concurrent")
		for range 100 {
			for i, rule := range rules {
				state := g.peek(rule)
				equal(g, "rule", state.Rule, rules[i])
				equal(g, "limit", state.Limit, rule.Limit.Amount)
				equal(g, "remaining", state.Remaining, rule.Limit.Amount)
			}
		}
		states, err := g.store.Peek(context.Background(), []*limiter.Rule{rules[0], rules[1], rules[0]})
		equal(g, "error", err, nil)
		equal(g, "states", len(states), 3)
		equal(g, "third", states[2].Rule, rules[0])
	}},
}
