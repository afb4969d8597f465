package redis

import (
	"context"
	"fmt"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// TestRedisAdmitsNoMoreWhenItsClockStepsBack steps the clock of Redis back and forth. A rate must admit
// no more than its burst and the refill until the latest time that the clock ever had.
func TestRedisAdmitsNoMoreWhenItsClockStepsBack(t *testing.T) {
	clock := newManual()
	r, _ := single(t, clock.by())
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		l := limiter.Limit{
			Unit:   limiter.Tokens,
			Window: rapid.SampledFrom([]limiter.Window{limiter.Second, limiter.Minute, limiter.Hour}).Draw(t, "window"),
			Amount: rapid.Int64Range(1, 10_000).Draw(t, "amount"),
			Burst:  rapid.Int64Range(1, 10_000).Draw(t, "burst"),
		}
		rate := limiter.NewRule(limiter.ScopeKey, fmt.Sprint("steps-", runs), l)
		quota := limiter.NewRule(limiter.ScopeKey, fmt.Sprint("steps-", runs), limiter.Limit{Unit: limiter.Tokens, Window: limiter.Day, Amount: 100_000_000})
		var start, latest time.Time // of the first request
		admitted, day := int64(0), int64(0)
		dayEnd := time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			step := time.Duration(rapid.Int64Range(0, int64(2*l.Window.Duration()/time.Microsecond)).Draw(t, "step")) * time.Microsecond
			if rapid.Bool().Draw(t, "back") && latest.Sub(clock.now())+step < 12*time.Hour {
				step = -step
			}
			clock.pass(step)
			if start.IsZero() {
				start, latest = clock.now(), clock.now()
			}
			if clock.now().After(latest) {
				latest = clock.now()
			}
			n := rapid.Int64Range(1, l.Burst).Draw(t, "tokens")
			req := asking(n, rate, quota)
			if _, err := r.Reserve(context.Background(), req); err == nil {
				admitted += n
				if _, end := limiter.Day.Bounds(latest); end != dayEnd {
					dayEnd, day = end, 0
				}
				day += n
			}
			came := account.MulDiv(int64(latest.Sub(start)), l.Amount, int64(l.Window.Duration()))
			if admitted > l.Burst+came {
				t.Fatalf("%s: %d were admitted in %v", l, admitted, latest.Sub(start))
			}
		}
		states, err := r.Peek(context.Background(), []*limiter.Rule{quota})
		if err != nil {
			t.Fatal(err)
		}
		if _, end := limiter.Day.Bounds(latest); end.Equal(dayEnd) && states[0].Remaining != quota.Limit.Amount-day {
			t.Fatalf("%d remain of the day, want %d", states[0].Remaining, quota.Limit.Amount-day)
		}
	})
}

func TestRedisKnowsTheCalendar(t *testing.T) {
	clock := newManual()
	r, _ := single(t, clock.by())
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		at := time.Date(rapid.IntRange(1970, 2240).Draw(t, "year"), 1, 1, 0, 0, 0, 0, time.UTC).
			Add(time.Duration(rapid.Int64Range(0, 366*24*60).Draw(t, "minute")) * time.Minute).
			Add(time.Duration(rapid.Int64Range(-1, 1).Draw(t, "microsecond")) * time.Microsecond)
		if at.Before(time.Unix(0, 0)) {
			return
		}
		clock.ns.Store(at.UnixNano())
		var rules []*limiter.Rule
		for _, w := range []limiter.Window{limiter.Day, limiter.Week, limiter.Month} {
			rules = append(rules, limiter.NewRule(limiter.ScopeKey, fmt.Sprint("calendar-", runs), limiter.Limit{Unit: limiter.Tokens, Window: w, Amount: 5}))
		}
		states, err := r.Peek(context.Background(), rules)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range states {
			if _, end := s.Rule.Limit.Window.Bounds(at); s.Reset != end.Sub(at) {
				t.Fatalf("%v: the %v turns in %v, want %v", at, s.Rule.Limit.Window, s.Reset, end.Sub(at))
			}
		}
	})
}

// TestLuaDividesExactly tests products that are not exact in a double.
func TestLuaDividesExactly(t *testing.T) {
	_, s := single(t, calm())
	divide := newScript(`
		local a, b, c, d = struct.unpack('<dddd', ARGV[1])
		local q, r = mul_div(a, b, c, d)
		return struct.pack('<dd', math.min(q, MAX + 1), r)`)
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(0, limiter.MaxAmount), rapid.Int64Range(limiter.MaxAmount-1000, limiter.MaxAmount))
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		d := max(number.Draw(t, "d"), 1)
		c := rapid.Int64Range(0, d-1).Draw(t, "c")
		got, err := newReply(divide.run(context.Background(), s.Client(), nil, []byte(packed(nil).numbers(float64(a), float64(b), float64(c), float64(d)))))
		if err != nil {
			t.Fatal(err)
		}
		q, rest := got.number(), got.number()
		wantQ, wantRest := exactly(a, b, c, d)
		// Quotients above any amount need not be exact.
		if wantQ <= limiter.MaxAmount && (q != wantQ || rest != wantRest) || wantQ > limiter.MaxAmount && q <= limiter.MaxAmount {
			t.Fatalf("(%d*%d + %d) / %d: got %d and %d, want %d and %d", a, b, c, d, q, rest, wantQ, wantRest)
		}
	})
}

// exactly is mul_div in big integers; a quotient above any amount is TooMuch.
func exactly(a, b, c, d int64) (q, rest int64) {
	n := new(big.Int).Mul(big.NewInt(a), big.NewInt(b))
	n.Add(n, big.NewInt(c))
	quotient, r := n.QuoRem(n, big.NewInt(d), new(big.Int))
	if !quotient.IsInt64() || quotient.Int64() > limiter.MaxAmount {
		return account.TooMuch, r.Int64()
	}
	return quotient.Int64(), r.Int64()
}
