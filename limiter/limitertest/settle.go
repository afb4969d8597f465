package limitertest

import (
	"context"
	"sync"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// everyUnit returns rules of every unit, with the amounts that chat(100, 300, 300) reserves of each.
func everyUnit() (rules []*limiter.Rule, reserved []int64) {
	for _, c := range []struct {
		words string
		n     int64
	}{
		{"1000 requests/minute", 1}, {"1000 tokens/minute", 400}, {"1000 input_tokens/minute", 100},
		{"1000 output_tokens/minute", 300}, {"1000 requests/day", 1}, {"1000 tokens/day", 400},
		{"1000 input_tokens/day", 100}, {"1000 output_tokens/day", 300}, {"1 usd/day", 500_000_000}, {"5 concurrent", 1},
	} {
		rules, reserved = append(rules, keyRule(c.words)), append(reserved, c.n)
	}
	return rules, reserved
}

// everyUnitRequest returns a request that reserves the amounts of everyUnit.
func everyUnitRequest(rules []*limiter.Rule) limiter.Request {
	req := chat(100, 300, 300, rules...)
	req.InputCost, req.OutputPrice = 200_000_000, 1_000_000_000
	return req
}

var settleTests = []test{
	{"charges what was used", func(g *gate) {
		rules, reserved := everyUnit()
		r := g.admit(everyUnitRequest(rules))
		for i, rule := range rules {
			g.remaining(rule, rule.Limit.Amount-reserved[i])
		}
		settle(r, limiter.Usage{Dispatched: true, Input: 90, Output: 20, Cost: 123})
		for i, charge := range []int64{1, 110, 90, 20, 1, 110, 90, 20, 123, 0} {
			g.remaining(rules[i], rules[i].Limit.Amount-charge)
		}
	}},
	{"returns everything of what was never sent", func(g *gate) {
		rules, _ := everyUnit()
		settle(g.admit(everyUnitRequest(rules)), limiter.Usage{Input: 90, Output: 20, Cost: 123})
		for _, rule := range rules {
			g.remaining(rule, rule.Limit.Amount)
		}
	}},
	{"keeps a failed request counted and returns the rest", func(g *gate) {
		rules, _ := everyUnit()
		settle(g.admit(everyUnitRequest(rules)), limiter.Usage{Dispatched: true, Failed: true, Input: 90, Output: 20, Cost: 123})
		for _, rule := range rules {
			charge := int64(0)
			if rule.Limit.Unit == limiter.Requests {
				charge = 1
			}
			g.remaining(rule, rule.Limit.Amount-charge)
		}
	}},
	{"counts the first time only", func(g *gate) {
		rules, _ := everyUnit()
		r := g.admit(everyUnitRequest(rules))
		// Another request, from which a second settlement would wrongly take.
		other := g.admit(everyUnitRequest(rules))
		settle(r, limiter.Usage{Dispatched: true, Input: 90, Output: 20, Cost: 123})
		settle(other, limiter.Usage{Dispatched: true, Input: 1, Output: 2, Cost: 3})
		third := g.admit(everyUnitRequest(rules))
		for _, again := range []limiter.Usage{{}, {Dispatched: true, Failed: true}, used(900, 900)} {
			settle(r, again)
			settle(other, again)
		}
		settle(third, limiter.Usage{})
		for i, charge := range []int64{2, 113, 91, 22, 2, 113, 91, 22, 126, 0} {
			g.remaining(rules[i], rules[i].Limit.Amount-charge)
		}
	}},
	{"counts once from many goroutines", func(g *gate) {
		rules, _ := everyUnit()
		r := g.admit(everyUnitRequest(rules))
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() { settle(r, used(100, 300)) })
		}
		wg.Wait()
		g.remaining(rules[1], 600)
		g.remaining(rules[9], 5)
	}},
	{"settles for a caller who is gone", func(g *gate) {
		rule := keyRule("1 concurrent")
		r := g.admit(plain(rule))
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		r.Settle(gone, used(1, 1))
		g.remaining(rule, 1)
	}},
	{"settles in a panic", func(g *gate) {
		rule := keyRule("1 concurrent")
		func() {
			defer func() { _ = recover() }()
			r := g.admit(plain(rule))
			defer r.Settle(context.Background(), limiter.Usage{})
			panic("upstream")
		}()
		g.remaining(rule, 1)
	}},
	{"returns candidate and cap afterwards", func(g *gate) {
		r := g.admit(over(chat(0, 500, 500, keyRule("100 tokens/day")), backend("a"), backend("b")))
		g.move(r, 1)
		settle(r, used(1, 1))
		equal(g, "candidate", r.Candidate(), 1)
		equal(g, "cap", r.Cap(), 100)
		r.States()
	}},
}

var reloadTests = []test{
	{"keeps the level of a bucket, at most its new burst", func(g *gate) {
		g.admit(chat(400, 0, 0, keyRule("1000 tokens/minute")))
		g.remaining(keyRule("2000 tokens/minute"), 600)
		g.remaining(keyRule("2000 tokens/minute burst 500"), 500)
		g.remaining(keyRule("2000 tokens/minute burst 5000"), 500)
		g.advance(time.Minute)
		g.remaining(keyRule("2000 tokens/minute burst 5000"), 2500)
	}},
	{"keeps what a quota has used and reserved", func(g *gate) {
		settle(g.admit(chat(300, 0, 0, keyRule("1000 tokens/day"))), used(300, 0))
		inFlight := g.admit(chat(100, 100, 100, keyRule("1000 tokens/day")))
		g.remaining(keyRule("2000 tokens/day"), 1500)
		g.remaining(keyRule("400 tokens/day"), 0)
		g.refuse(chat(1, 0, 0, keyRule("500 tokens/day")))
		settle(inFlight, used(50, 50))
		g.remaining(keyRule("500 tokens/day"), 100)
	}},
	{"keeps who is in flight", func(g *gate) {
		first := g.admit(plain(keyRule("3 concurrent")))
		second := g.admit(plain(keyRule("3 concurrent")))
		refusal := g.refuse(plain(keyRule("1 concurrent")))
		equal(g, "used", refusal.Used, 2)
		equal(g, "remaining", refusal.Remaining, 0)
		settle(first, used(1, 1))
		g.refuse(plain(keyRule("1 concurrent")))
		settle(second, used(1, 1))
		g.admit(plain(keyRule("1 concurrent")))
	}},
	{"settles what was admitted under the old limit", func(g *gate) {
		old := g.admit(chat(800, 100, 100, keyRule("1000 tokens/minute")))
		g.refuse(chat(200, 0, 0, keyRule("300 tokens/minute")))
		settle(old, used(0, 0))
		g.remaining(keyRule("300 tokens/minute"), 300)
	}},
}
