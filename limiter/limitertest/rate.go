package limitertest

import (
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

var rateTests = []test{
	{"admits the burst at once and then the rate", func(g *gate) {
		rule := keyRule("60 requests/minute burst 10")
		n, refusal := g.admitAll(plain(rule))
		equal(g, "admitted at once", n, 10)
		equal(g, "retry", refusal.RetryAfter, time.Second)
		g.advance(time.Second - time.Microsecond)
		g.refuse(plain(rule))
		g.advance(time.Microsecond)
		g.admit(plain(rule))
		g.refuse(plain(rule))
	}},
	{"has the amount for a burst where none is set", func(g *gate) {
		n, _ := g.admitAll(plain(keyRule("7 requests/hour")))
		equal(g, "admitted at once", n, 7)
	}},
	{"counts by the second and by the hour", func(g *gate) {
		second, hour := keyRule("4 requests/second"), keyRule("4 requests/hour")
		_, refusal := g.admitAll(plain(second))
		equal(g, "retry of a second", refusal.RetryAfter, 250*time.Millisecond)
		_, refusal = g.admitAll(plain(hour))
		equal(g, "retry of an hour", refusal.RetryAfter, 15*time.Minute)
	}},
	{"does not fill above the burst", func(g *gate) {
		rule := keyRule("60 requests/minute burst 3")
		g.admitAll(plain(rule))
		g.advance(100 * 24 * time.Hour)
		n, _ := g.admitAll(plain(rule))
		equal(g, "admitted after a long pause", n, 3)
	}},
	{"loses nothing by being asked often", func(g *gate) {
		// 7 a minute is one in 8.571… seconds, which is no multiple of the clock's steps.
		rule := keyRule("7 requests/minute burst 100")
		g.admitAll(plain(rule))
		for range 6000 { // 13 minutes
			g.advance(130 * time.Millisecond)
			g.peek(rule)
		}
		n, _ := g.admitAll(plain(rule))
		equal(g, "admitted after 13 minutes", n, 91)
	}},
	{"reserves input and output of its unit", func(g *gate) {
		for _, c := range []struct {
			words string
			left  int64
		}{
			{"1000 tokens/minute", 1000 - 130},
			{"1000 input_tokens/minute", 1000 - 100},
			{"1000 output_tokens/minute", 1000 - 30},
			{"1000 requests/minute", 999},
		} {
			rule := keyRule(c.words)
			r := g.admit(chat(100, 30, 5000, rule))
			g.remaining(rule, c.left)
			equal(g, "cap", r.Cap(), int64(-1))
			equal(g, "state of the reservation", r.States()[0].Remaining, c.left)
		}
	}},
	{"reserves of the output no more than the bucket holds", func(g *gate) {
		rule, output := keyRule("1000 tokens/minute"), keyRule("50 output_tokens/minute")
		r := g.admit(chat(600, 4096, 4096, rule, output))
		g.remaining(rule, 0)
		g.remaining(output, 0)
		equal(g, "cap", r.Cap(), int64(-1))
	}},
	{"refuses an input that it can never hold", func(g *gate) {
		for _, words := range []string{"1000 tokens/minute", "1000 input_tokens/minute", "9000 tokens/hour burst 1000"} {
			rule := keyRule(words)
			g.admit(chat(1000, 0, 0, rule))
			g.advance(time.Hour)
			refusal := g.refuse(chat(1001, 0, 0, rule))
			equal(g, "too large", refusal.TooLarge, true)
			equal(g, "requested", refusal.Requested, 1001)
			equal(g, "retry", refusal.RetryAfter, 0)
		}
	}},
	{"gives back what was not used", func(g *gate) {
		rule := keyRule("1000 tokens/minute")
		r := g.admit(chat(100, 500, 500, rule))
		settle(r, used(90, 10))
		g.remaining(rule, 900)
	}},
	{"gives back no more than fits", func(g *gate) {
		rule := keyRule("1000 tokens/minute")
		r := g.admit(chat(100, 500, 500, rule))
		g.advance(time.Hour)
		settle(r, used(0, 0))
		g.remaining(rule, 1000)
	}},
	{"takes what was used beyond the reservation as a debt", func(g *gate) {
		rule := keyRule("600 tokens/minute")
		r := g.admit(chat(100, 500, 500, rule))
		settle(r, used(100, 1100)) // 600 more than reserved
		state := g.peek(rule)
		equal(g, "remaining", state.Remaining, 0)
		equal(g, "reset", state.Reset, 2*time.Minute)
		refusal := g.refuse(chat(10, 0, 0, rule))
		equal(g, "used", refusal.Used, 1200)
		equal(g, "remaining of the refusal", refusal.Remaining, 0)
		equal(g, "retry", refusal.RetryAfter, 61*time.Second)
		g.advance(61 * time.Second)
		g.admit(chat(10, 0, 0, rule))
	}},
	{"owes no more than a day's refill", func(g *gate) {
		for _, words := range []string{"10 tokens/second", "600 tokens/minute", "36k tokens/hour"} {
			rule := keyRule(words)
			r := g.admit(chat(1, 0, 0, rule))
			settle(r, used(1<<63-1, 1<<63-1))
			refusal := g.refuse(chat(10, 0, 0, rule))
			equal(g, "retry", refusal.RetryAfter, 24*time.Hour+time.Second)
		}
	}},
	{"admits what takes nothing while it is owed", func(g *gate) {
		rule := keyRule("100 output_tokens/minute")
		settle(g.admit(chat(10, 100, 100, rule)), used(10, 500))
		g.refuse(chat(10, 1, 1, rule))
		g.admit(chat(10, 0, 0, rule))
	}},
	{"refuses in the figures that clients read", func(g *gate) {
		rule := keyRule("30k tokens/minute")
		g.admit(chat(28000, 0, 0, rule))
		refusal := g.refuse(chat(4000, 1000, 1000, rule))
		equal(g, "rule", refusal.Rule, rule)
		equal(g, "limit", refusal.Limit, 30000)
		equal(g, "used", refusal.Used, 28000)
		equal(g, "requested", refusal.Requested, 5000)
		equal(g, "remaining", refusal.Remaining, 2000)
		equal(g, "retry", refusal.RetryAfter, 6*time.Second)
		equal(g, "message", refusal.Message("m"), "Rate limit reached for m on tokens per min (TPM): "+
			"Limit 30000, Used 28000, Requested 5000. Please try again in 6s.")
		equal(g, "states", len(refusal.States), 1)
		equal(g, "state", refusal.States[0], limiter.State{Rule: rule, Limit: 30000, Remaining: 2000, Reset: 56 * time.Second})
	}},
	{"rounds what remains down", func(g *gate) {
		rule := keyRule("60 requests/minute")
		g.admit(plain(rule))
		g.advance(999 * time.Millisecond)
		equal(g, "state", g.peek(rule), limiter.State{Rule: rule, Limit: 60, Remaining: 59, Reset: time.Millisecond})
	}},
	{"returns when a burst beside the amount is full", func(g *gate) {
		for _, words := range []string{"60 requests/minute burst 10", "60 requests/minute burst 100"} {
			rule := limiter.NewRule(limiter.ScopeKey, words, limit(words))
			g.admit(plain(rule))
			want := limiter.State{Rule: rule, Limit: 60, Remaining: rule.Limit.Burst - 1, Reset: time.Second}
			equal(g, "state", g.peek(rule), want)
		}
	}},
	{"takes absurd counts for what they can be", func(g *gate) {
		rule := keyRule("1000 tokens/minute")
		g.admit(limiter.Request{Rules: []*limiter.Rule{rule}, Input: -5, Output: -5, MaxOutput: -5, N: -5})
		g.remaining(rule, 1000)
		const most = 1<<63 - 1
		refusal := g.refuse(limiter.Request{Rules: []*limiter.Rule{rule}, Input: most, Output: most, MaxOutput: most, N: most})
		equal(g, "too large", refusal.TooLarge, true)
		r := g.admit(chat(0, 100, 100, rule))
		settle(r, used(-1e18, -1))
		g.remaining(rule, 1000)
	}},
}
