package limitertest

import (
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

var quotaTests = []test{
	{"reserves the input and the whole cap", func(g *gate) {
		for _, c := range []struct {
			words string
			left  int64
		}{
			{"1000 tokens/day", 1000 - 700},
			{"1000 input_tokens/day", 1000 - 100},
			{"1000 output_tokens/day", 1000 - 600},
			{"1000 requests/day", 999},
		} {
			rule := keyRule(c.words)
			r := g.admit(chat(100, 50, 600, rule))
			g.remaining(rule, c.left)
			equal(g, "cap", r.Cap(), int64(-1))
		}
	}},
	{"returns what is used without what is reserved", func(g *gate) {
		rule := keyRule("1000 tokens/month")
		since := g.peek(rule).Since
		start, _ := limiter.Month.Bounds(since)
		equal(g, "the window's start", since, start)
		check := func(what string, s limiter.State, want int64) {
			equal(g, what, s.Used, want)
			equal(g, what+": the window", s.Since, since)
		}
		first := g.admit(chat(100, 50, 200, rule))
		check("the first", first.States()[0], 0)
		settle(first, used(100, 150))
		second := g.admit(chat(100, 50, 200, rule))
		check("the second", second.States()[0], 250)
		check("meanwhile", g.peek(rule), 250)
		check("a refusal", g.refuse(chat(900, 50, 200, rule)).States[0], 250)
		settle(second, used(100, 200))
		check("at last", g.peek(rule), 550)
		equal(g, "of a rate", g.peek(keyRule("1000 tokens/minute")).Since.IsZero(), true)
	}},
	{"lowers the cap to what remains", func(g *gate) {
		rule := keyRule("1000 tokens/month")
		r := g.admit(chat(100, 400, 4000, rule))
		equal(g, "cap", r.Cap(), 900)
		g.remaining(rule, 0)
		settle(r, used(100, 300))
		g.remaining(rule, 600)
	}},
	{"divides what remains by the answers", func(g *gate) {
		rule := keyRule("1000 tokens/month")
		req := chat(100, 400, 4000, rule)
		req.N = 7
		r := g.admit(req)
		equal(g, "cap", r.Cap(), 128) // 900/7
		g.remaining(rule, 900-7*128)
	}},
	{"takes a request for no answers for one answer", func(g *gate) {
		rule := keyRule("1000 tokens/month")
		req := chat(100, 400, 4000, rule)
		req.N = 0
		equal(g, "cap", g.admit(req).Cap(), 900)
	}},
	{"lowers to what the scarcest quota has", func(g *gate) {
		day, month, output := keyRule("500 tokens/day"), keyRule("1000 tokens/month"), keyRule("450 output_tokens/week")
		r := g.admit(chat(100, 4000, 4000, month, day, output))
		equal(g, "cap", r.Cap(), 400)
		g.remaining(day, 0)
		g.remaining(month, 500)
		g.remaining(output, 50)
	}},
	{"makes rates reserve the lowered cap", func(g *gate) {
		rate, quota := keyRule("10k tokens/minute"), keyRule("300 tokens/day")
		g.admit(chat(100, 4000, 4000, rate, quota))
		g.remaining(rate, 10_000-300)
	}},
	{"gives a request without a cap one only where less remains than is expected", func(g *gate) {
		rule := keyRule("1000 tokens/day")
		r := g.admit(chat(100, 400, -1, rule))
		equal(g, "cap of the first", r.Cap(), int64(-1))
		g.remaining(rule, 500)
		r = g.admit(chat(200, 400, -1, rule))
		equal(g, "cap of the second", r.Cap(), 300)
		g.remaining(rule, 0)
	}},
	{"must have room for all of an answer that can't be capped", func(g *gate) {
		rule := keyRule("1000 tokens/day")
		uncapped := func(input, output int64) limiter.Request {
			req := chat(input, output, -1, rule)
			req.N, req.Uncapped = 2, true
			return req
		}
		first := g.admit(uncapped(100, 400))
		g.remaining(rule, 500)
		refusal := g.refuse(uncapped(101, 400))
		equal(g, "requested", refusal.Requested, 501)
		equal(g, "reserved", refusal.Reserved, true)
		equal(g, "cap", g.admit(uncapped(100, 400)).Cap(), int64(-1))
		settle(first, used(100, 300))
		g.remaining(rule, 100)
		equal(g, "too large", g.refuse(uncapped(1, 1000)).TooLarge, true)
	}},
	{"is spent to its end and not beyond", func(g *gate) {
		rule := keyRule("1000 tokens/day")
		spent := int64(0)
		for {
			r, err := g.reserve(chat(100, 150, 150, rule))
			if err != nil {
				break
			}
			output := int64(150)
			if r.Cap() >= 0 {
				output = min(output, r.Cap())
			}
			settle(r, used(100, output))
			spent += 100 + output
		}
		equal(g, "spent", spent, 1000)
	}},
	{"refuses where less remains than the input and a token for each answer", func(g *gate) {
		rule := keyRule("1000 tokens/day")
		settle(g.admit(chat(890, 0, 0, rule)), used(890, 0))
		req := chat(100, 500, 500, rule)
		req.N = 11
		refusal := g.refuse(req)
		equal(g, "reserved", refusal.Reserved, false)
		equal(g, "too large", refusal.TooLarge, false)
		equal(g, "used", refusal.Used, 890)
		equal(g, "requested", refusal.Requested, 111)
		equal(g, "remaining", refusal.Remaining, 110)
		equal(g, "retry is the turn", refusal.RetryAfter, g.peek(rule).Reset)
		req.N = 10
		equal(g, "cap", g.admit(req).Cap(), 1)
	}},
	{"marks a refusal that stands only because of what is reserved", func(g *gate) {
		rule := keyRule("1000 tokens/day")
		first := g.admit(chat(400, 600, 600, rule))
		refusal := g.refuse(chat(400, 600, 600, rule))
		equal(g, "reserved", refusal.Reserved, true)
		equal(g, "retry", refusal.RetryAfter, time.Second)
		equal(g, "used", refusal.Used, 1000)
		equal(g, "reserved, for all that is not used", g.refuse(chat(1000, 0, 0, rule)).Reserved, true)
		settle(first, used(400, 100))
		second := g.admit(chat(400, 600, 600, rule))
		equal(g, "cap", second.Cap(), 100)
		settle(second, used(400, 100))
		refusal = g.refuse(chat(400, 600, 600, rule))
		equal(g, "reserved", refusal.Reserved, false)
	}},
	{"refuses an input that no window has room for", func(g *gate) {
		rule := keyRule("1000 tokens/day")
		refusal := g.refuse(chat(1001, 5, 5, rule))
		equal(g, "too large", refusal.TooLarge, true)
		g.admit(chat(999, 5, 5, rule))
	}},
	{"counts requests", func(g *gate) {
		rule := keyRule("3 requests/day")
		n, refusal := g.admitAll(plain(rule))
		equal(g, "admitted", n, 3)
		equal(g, "reserved", refusal.Reserved, true)
	}},
	{"is charged for what an answer used beyond its cap", func(g *gate) {
		rule := keyRule("1000 tokens/day")
		settle(g.admit(chat(100, 100, -1, rule)), used(100, 1500))
		refusal := g.refuse(chat(1, 1, 1, rule))
		equal(g, "used", refusal.Used, 1600)
		equal(g, "remaining", refusal.Remaining, 0)
		equal(g, "reserved", refusal.Reserved, false)
	}},
	{"turns with the calendar", func(g *gate) {
		for _, c := range []struct {
			words       string
			least, most time.Duration
		}{
			{"100 tokens/day", 24 * time.Hour, 24 * time.Hour},
			{"100 tokens/week", 7 * 24 * time.Hour, 7 * 24 * time.Hour},
			{"100 tokens/month", 28 * 24 * time.Hour, 31 * 24 * time.Hour},
		} {
			rule := keyRule(c.words)
			settle(g.admit(chat(100, 0, 0, rule)), used(100, 0))
			refusal := g.refuse(chat(1, 0, 0, rule))
			g.advance(refusal.RetryAfter - time.Microsecond)
			g.refuse(chat(1, 0, 0, rule))
			g.advance(time.Microsecond)
			g.admit(chat(1, 0, 0, rule))
			if reset := g.peek(rule).Reset; reset < c.least || reset > c.most {
				g.Fatalf("%s: a window lasts %v", c.words, reset)
			}
		}
	}},
	{"charges the window in which a request was admitted", func(g *gate) {
		rule := keyRule("1000 tokens/day")
		inFlight := g.admit(chat(100, 500, 500, rule))
		g.turn(rule, time.Second)
		g.remaining(rule, 1000)
		g.admit(chat(10, 10, 10, rule))
		settle(inFlight, used(100, 500))
		g.remaining(rule, 980)
	}},
	{"charges nothing to a window that nobody has looked at", func(g *gate) {
		rule := keyRule("1000 tokens/day")
		inFlight := g.admit(chat(100, 500, 500, rule))
		g.turn(rule, 3*time.Hour)
		settle(inFlight, used(100, 500))
		g.remaining(rule, 1000)
	}},
}
