package limitertest

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// ledger is the source of a store's seeds.
type ledger struct {
	amount atomic.Int64 // usage of every quota
	broken atomic.Bool
	asked  atomic.Int64 // number of calls
}

var errLedger = errors.New("the ledger can't be read")

func (l *ledger) used(*limiter.Rule, time.Time) (int64, error) {
	l.asked.Add(1)
	if l.broken.Load() {
		return 0, errLedger
	}
	return l.amount.Load(), nil
}

// undecided fails the test if err is not that a quota can't be seeded.
func (g *gate) undecided(err error) {
	g.Helper()
	why := new(limiter.Unavailable)
	if !errors.Is(err, limiter.ErrUnavailable) || !errors.Is(err, errLedger) || !errors.As(err, &why) || why.Reason != limiter.ReasonSeed {
		g.Fatalf("got error %v, want that the quota can't be seeded", err)
	}
}

var seedTests = []test{
	{"begins with what was used", func(g *gate) {
		rule := keyRule("1000 tokens/day")
		g.ledger.amount.Store(300)
		g.admit(chat(100, 100, 100, rule))
		g.remaining(rule, 500)
		equal(g, "asked", g.ledger.asked.Load(), 1)
		g.turn(rule, time.Second)
		g.remaining(rule, 700)
	}},
	{"admits nothing while it is not known what was used", func(g *gate) {
		rules := []*limiter.Rule{keyRule("10 requests/hour"), keyRule("1000 tokens/day"), keyRule("3 concurrent")}
		g.ledger.broken.Store(true)
		g.ledger.amount.Store(300)
		for want := range int64(3) {
			_, err := g.reserve(chat(100, 100, 100, rules...))
			g.undecided(err)
			equal(g, "asked", g.ledger.asked.Load(), want+1)
		}
		// Nothing was taken of the other rules, and a request without a quota is not affected.
		g.remaining(rules[0], 10)
		g.remaining(rules[2], 3)
		g.admit(chat(100, 100, 100, rules[0], rules[2]))
		g.ledger.broken.Store(false)
		g.admit(chat(100, 100, 100, rules...))
		g.remaining(rules[0], 8)
		g.remaining(rules[1], 500)
		g.remaining(rules[2], 1)
	}},
	{"returns no state of what is not known", func(g *gate) {
		rule := keyRule("1000 tokens/day")
		g.ledger.broken.Store(true)
		_, err := g.store.Peek(context.Background(), []*limiter.Rule{rule})
		g.undecided(err)
		g.ledger.broken.Store(false)
		g.remaining(rule, 1000)
	}},
	{"goes on with a quota that is known", func(g *gate) {
		rule := keyRule("1000 tokens/day")
		settle(g.admit(chat(100, 100, 100, rule)), used(100, 50))
		g.ledger.broken.Store(true)
		settle(g.admit(chat(100, 100, 100, rule)), used(100, 50))
		g.remaining(rule, 700)
		g.turn(rule, time.Second)
		_, err := g.reserve(chat(1, 0, 0, rule))
		g.undecided(err)
	}},
	{"does not move to a candidate whose quota is not known", func(g *gate) {
		a, b := backend("a", "2 concurrent"), backend("b", "2 concurrent", "1000 tokens/day")
		key := keyRule("1000 tokens/hour")
		g.ledger.broken.Store(true)
		r := g.admit(over(chat(100, 100, 100, key), a, b))
		g.undecided(r.Move(context.Background(), 1))
		equal(g, "candidate", r.Candidate(), 0)
		g.remaining(a[0], 1)
		g.remaining(b[0], 2)
		g.ledger.broken.Store(false)
		g.move(r, 1)
		g.remaining(a[0], 2)
		g.remaining(b[1], 800)
		settle(r, used(100, 50))
		g.remaining(key, 850)
		g.remaining(b[1], 850)
	}},
	{"admits none of a crowd while it is not known what was used", func(g *gate) {
		rule := keyRule("1000 tokens/day")
		g.ledger.broken.Store(true)
		g.ledger.amount.Store(960)
		var admitted atomic.Int64
		ask := func(int) {
			if _, err := g.reserve(chat(10, 0, 0, rule)); err == nil {
				admitted.Add(1)
			}
		}
		crowd(50, ask)
		equal(g, "admitted", admitted.Load(), 0)
		g.ledger.broken.Store(false)
		crowd(50, ask)
		equal(g, "admitted", admitted.Load(), 4)
	}},
}
