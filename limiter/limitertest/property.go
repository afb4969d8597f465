package limitertest

import (
	"fmt"
	"math/big"
	"time"

	"pgregory.net/rapid"

	"github.com/amanycodes/pine-gate/limiter"
)

var propertyTests = []test{
	{"a rate admits no more than its burst and its refill", func(g *gate) {
		rapid.Check(g.T, func(t *rapid.T) { checkRate(g, t) })
	}},
	{"a quota is never overdrawn by answers that keep their caps", func(g *gate) {
		rapid.Check(g.T, func(t *rapid.T) { checkQuota(g, t) })
	}},
}

// uniqueRule returns a rule with limit l that no other run of a property has.
func uniqueRule(l limiter.Limit) *limiter.Rule {
	return limiter.NewRule(limiter.ScopeKey, fmt.Sprintf("k%d", ids.Add(1)), l)
}

// drawStep draws a step of the clock, from zero to long enough to fill a bucket.
func drawStep(t *rapid.T) time.Duration {
	unit := rapid.SampledFrom([]time.Duration{0, time.Microsecond, time.Millisecond, time.Second, time.Minute}).Draw(t, "unit")
	return unit * time.Duration(rapid.Int64Range(1, 100).Draw(t, "step"))
}

// checkRate runs random traffic against a rate. Each decision must be that of a bucket in rational
// numbers, and over all spans of time what is admitted must hold the invariant.
func checkRate(g *gate, t *rapid.T) {
	l := limiter.Limit{
		Unit:   limiter.Tokens,
		Window: rapid.SampledFrom([]limiter.Window{limiter.Second, limiter.Minute, limiter.Hour}).Draw(t, "window"),
		Amount: rapid.Int64Range(1, 10_000).Draw(t, "amount"),
		Burst:  rapid.Int64Range(0, 10_000).Draw(t, "burst"),
	}
	rule := uniqueRule(l)
	rate := new(big.Rat).SetFrac64(l.Amount, int64(l.Window.Duration())) // a nanosecond
	capacity := new(big.Rat).SetInt64(l.Capacity())
	level := new(big.Rat).Set(capacity)

	// excess is what was admitted, less what was returned and refilled, since the time at which that
	// was least. The invariant is that it never exceeds the burst.
	excess := new(big.Rat)

	type flight struct {
		reservation limiter.Reservation
		reserved    int64
	}
	var inFlight []flight
	for range rapid.IntRange(1, 60).Draw(t, "events") {
		step := drawStep(t)
		g.advance(step)
		came := new(big.Rat).Mul(rate, new(big.Rat).SetInt64(int64(step)))
		level = least(level.Add(level, came), capacity)
		if excess.Sub(excess, came).Sign() < 0 {
			excess.SetInt64(0)
		}

		if len(inFlight) > 0 && rapid.Bool().Draw(t, "settle") {
			f := inFlight[0]
			inFlight = inFlight[1:]
			usedUp := rapid.Int64Range(0, 2*f.reserved).Draw(t, "used")
			settle(f.reservation, used(usedUp, 0))
			back := new(big.Rat).SetInt64(f.reserved - usedUp)
			level = least(indebted(level.Add(level, back), l), capacity)
			if back.Sign() > 0 {
				excess.Sub(excess, back)
			}
			continue
		}
		input := rapid.Int64Range(1, l.Capacity()).Draw(t, "input")
		output := rapid.Int64Range(0, 2*l.Capacity()).Draw(t, "output")
		need := min(input+output, l.Capacity())
		r, err := g.reserve(chat(input, output, output, rule))
		if admits := level.Cmp(new(big.Rat).SetInt64(need)) >= 0; admits != (err == nil) {
			t.Fatalf("%s with %s: asked for %d, got %v", l, level.FloatString(9), need, err)
		}
		if err != nil {
			continue
		}
		level.Sub(level, new(big.Rat).SetInt64(need))
		if excess.Add(excess, new(big.Rat).SetInt64(need)).Cmp(capacity) > 0 {
			t.Fatalf("%s: %s were admitted beyond the refill", l, excess.FloatString(9))
		}
		inFlight = append(inFlight, flight{r, need})
	}
}

// indebted bounds the debt in a level's whole units to a day's refill.
func indebted(level *big.Rat, l limiter.Limit) *big.Rat {
	whole := new(big.Int).Div(level.Num(), level.Denom()) // rounded down
	most := big.NewInt(-l.Amount * int64(24*time.Hour/l.Window.Duration()))
	if whole.Cmp(most) >= 0 {
		return level
	}
	fraction := new(big.Rat).Sub(level, new(big.Rat).SetInt(whole))
	return fraction.Add(fraction, new(big.Rat).SetInt(most))
}

func least(a, b *big.Rat) *big.Rat {
	if a.Cmp(b) > 0 {
		return new(big.Rat).Set(b)
	}
	return a
}

// checkQuota runs random requests against two quotas, on tokens and on money. Answers use at most
// their caps, so neither may be overdrawn in any window; what is left must be what was neither charged
// nor reserved.
func checkQuota(g *gate, t *rapid.T) {
	tokens := uniqueRule(limiter.Limit{Unit: limiter.Tokens, Window: limiter.Day, Amount: rapid.Int64Range(1, 5000).Draw(t, "tokens")})
	money := uniqueRule(limiter.Limit{Unit: limiter.USD, Window: limiter.Day, Amount: rapid.Int64Range(1, 5000).Draw(t, "money")})
	type flight struct {
		reservation limiter.Reservation
		day         int
		input       int64
		most        int64 // of output
		inputCost   int64
		price       int64
	}
	var inFlight []flight
	day := 0
	usedTokens, usedMoney := map[int]int64{}, map[int]int64{}
	for range rapid.IntRange(1, 60).Draw(t, "events") {
		switch rapid.SampledFrom([]string{"ask", "ask", "ask", "settle", "settle", "turn"}).Draw(t, "event") {
		case "turn":
			g.turn(tokens, time.Second)
			day++
		case "settle":
			if len(inFlight) == 0 {
				continue
			}
			f := inFlight[0]
			inFlight = inFlight[1:]
			output := rapid.Int64Range(0, f.most).Draw(t, "output")
			cost := f.inputCost + output*f.price/1000
			f.reservation.Settle(g.Context(), limiter.Usage{Dispatched: true, Input: f.input, Output: output, Cost: cost})
			usedTokens[f.day] += f.input + output
			usedMoney[f.day] += cost
		case "ask":
			n := rapid.Int64Range(1, 4).Draw(t, "n")
			req := chat(rapid.Int64Range(0, 500).Draw(t, "input"), 0, n*rapid.Int64Range(1, 2000).Draw(t, "cap"), tokens, money)
			req.N, req.Output = n, req.MaxOutput
			req.InputCost = rapid.Int64Range(0, 500).Draw(t, "cost")
			req.OutputPrice = rapid.Int64Range(0, 5000).Draw(t, "price")
			most := req.MaxOutput
			if rapid.Bool().Draw(t, "without a cap") {
				req.MaxOutput = -1
			}
			r, err := g.reserve(req)
			if err != nil {
				continue
			}
			if r.Cap() >= 0 {
				if r.Cap() < 1 || r.Cap()*n > most {
					t.Fatalf("the cap is %d for %d answers of together %d", r.Cap(), n, most)
				}
				most = r.Cap() * n
			}
			inFlight = append(inFlight, flight{r, day, req.Input, most, req.InputCost, req.OutputPrice})
		}
		if usedTokens[day] > tokens.Limit.Amount || usedMoney[day] > money.Limit.Amount {
			t.Fatalf("used %d tokens of %s, %d nano-USD of %s", usedTokens[day], tokens.Limit, usedMoney[day], money.Limit)
		}
	}
	for _, f := range inFlight {
		settle(f.reservation, limiter.Usage{})
	}
	for _, c := range []struct {
		rule *limiter.Rule
		used int64
	}{{tokens, usedTokens[day]}, {money, usedMoney[day]}} {
		if got, want := g.peek(c.rule).Remaining, c.rule.Limit.Amount-c.used; got != want {
			t.Fatalf("%s: %d remaining, want %d", c.rule.Limit, got, want)
		}
	}
}
