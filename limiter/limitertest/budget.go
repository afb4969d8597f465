package limitertest

import "github.com/amanycodes/pine-gate/limiter"

var budgetTests = []test{
	{"reserves the price of the input and of the whole cap", func(g *gate) {
		rule := keyRule("1 usd/day")
		// 0.3 USD of input; 1 token of output costs 0.0001 USD.
		req := priced(300_000_000, 100_000_000, 5000, rule)
		r := g.admit(req)
		equal(g, "cap", r.Cap(), int64(-1))
		g.remaining(rule, 200_000_000)
		settle(r, limiter.Usage{Dispatched: true, Input: 10, Output: 10, Cost: 450_000_000})
		g.remaining(rule, 550_000_000)
	}},
	{"lowers the cap to what the money buys", func(g *gate) {
		rule := keyRule("1 usd/day")
		r := g.admit(priced(300_000_000, 100_000_000, 100_000, rule))
		equal(g, "cap", r.Cap(), 7000)
		g.remaining(rule, 0)
	}},
	{"knows prices below a nano-dollar", func(g *gate) {
		rule := keyRule("0.000000010 usd/day") // 10 nano-USD
		r := g.admit(priced(0, 300, 4, rule))  // 4 × 0.3 nano-USD, rounded up
		equal(g, "cap", r.Cap(), int64(-1))
		g.remaining(rule, 8)
		r = g.admit(priced(0, 300, 1000, rule))
		equal(g, "cap", r.Cap(), 26)
		g.remaining(rule, 0)
	}},
	{"refuses where the money buys not a token", func(g *gate) {
		rule := keyRule("1 usd/day")
		settle(g.admit(priced(0, 0, 0, rule)), limiter.Usage{Dispatched: true, Cost: 999_999_999})
		refusal := g.refuse(priced(0, 2000, 100, rule))
		equal(g, "requested", refusal.Requested, 2)
		equal(g, "remaining", refusal.Remaining, 1)
		equal(g, "used", refusal.Used, 999_999_999)
		equal(g, "reserved", refusal.Reserved, false)
		g.admit(priced(0, 1000, 100, rule))
	}},
	{"lets pass what is free when all is spent", func(g *gate) {
		rule := keyRule("1 usd/day")
		settle(g.admit(priced(0, 0, 0, rule)), limiter.Usage{Dispatched: true, Cost: 2_000_000_000})
		g.refuse(priced(1, 0, 0, rule))
		g.admit(priced(0, 0, 1000, rule))
	}},
	{"does not overflow", func(g *gate) {
		rule := keyRule("9000000 usd/month")
		r := g.admit(priced(0, 1<<62, 1<<62, rule))
		equal(g, "cap", r.Cap(), 1000)
	}},
}

// priced returns a request for one answer with its prices: nano-USD for the input, pico-USD for an output
// token.
func priced(inputCost, outputPrice, maxOutput int64, rules ...*limiter.Rule) limiter.Request {
	return limiter.Request{
		Rules: rules, Input: 1, Output: maxOutput, MaxOutput: maxOutput, N: 1,
		InputCost: inputCost, OutputPrice: outputPrice,
	}
}
