package limitertest

import (
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

var concurrentTests = []test{
	{"admits as many as it has permits", func(g *gate) {
		rule := keyRule("3 concurrent")
		n, refusal := g.admitAll(plain(rule))
		equal(g, "admitted", n, 3)
		equal(g, "retry", refusal.RetryAfter, time.Second)
		equal(g, "used", refusal.Used, 3)
		equal(g, "state", refusal.States[0], limiter.State{Rule: rule, Limit: 3})
		equal(g, "reserved is for quotas", refusal.Reserved, false)
	}},
	{"frees a permit once", func(g *gate) {
		rule := keyRule("2 concurrent")
		first := g.admit(plain(rule))
		g.admit(plain(rule))
		for range 3 {
			settle(first, used(1, 1))
		}
		g.remaining(rule, 1)
		g.admit(plain(rule))
		g.refuse(plain(rule))
	}},
	{"frees a permit however a request ends", func(g *gate) {
		rule := keyRule("1 concurrent")
		for _, actual := range []limiter.Usage{{}, {Dispatched: true, Failed: true}, used(5, 5), {Failed: true}} {
			settle(g.admit(plain(rule)), actual)
			g.remaining(rule, 1)
		}
	}},
	{"holds a permit for as long as a stream lasts", func(g *gate) {
		rule := keyRule("1 concurrent")
		r := g.admit(plain(rule))
		for range 60 {
			g.advance(time.Minute)
			g.refuse(plain(rule))
		}
		settle(r, used(1, 1))
		g.admit(plain(rule))
	}},
}
