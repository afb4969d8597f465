// Package limitertest is the suite that every store of limits passes: what [limiter.Limiter]
// promises, as tests that need no more than the store and its clock.
package limitertest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// New makes an empty store for one test, which closes it with t.Cleanup, and returns with it what
// moves the store's clock forward. The clock must stand still otherwise, and follow to the
// microsecond; the time at which it starts may be any. Seed returns what quotas have used; it is nil in
// most tests.
type New func(t *testing.T, seed limiter.Seed) (store limiter.Limiter, advance func(time.Duration))

// Run runs the suite against the stores that are made by newStore.
func Run(t *testing.T, newStore New) {
	for _, group := range []struct {
		name   string
		tests  []test
		seeded bool // its stores ask the gate's ledger
	}{
		{"Rate", rateTests, false},
		{"Quota", quotaTests, false},
		{"Budget", budgetTests, false},
		{"Concurrent", concurrentTests, false},
		{"Together", togetherTests, false},
		{"Candidates", candidateTests, false},
		{"Settle", settleTests, false},
		{"Reload", reloadTests, false},
		{"Seed", seedTests, true},
		{"Storm", stormTests, false},
		{"Property", propertyTests, false},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				t.Run(test.name, func(t *testing.T) {
					g := &gate{T: t}
					var seed limiter.Seed
					if group.seeded {
						seed = g.ledger.used
					}
					g.store, g.advance = newStore(t, seed)
					test.run(g)
				})
			}
		})
	}
}

// test is one behaviour.
type test struct {
	name string
	run  func(g *gate)
}

// gate is a store under test with what tests say often.
type gate struct {
	*testing.T
	store   limiter.Limiter
	advance func(time.Duration)
	ledger  ledger
}

// ids makes reservations differ, over all tests that share a store outside of the process.
var ids atomic.Int64

// limit parses a limit from the words of the configuration.
func limit(words string) limiter.Limit {
	var l limiter.Limit
	if err := l.UnmarshalText([]byte(words)); err != nil {
		panic(err)
	}
	return l
}

// keyRule is a rule of the key "alice".
func keyRule(words string) *limiter.Rule {
	return limiter.NewRule(limiter.ScopeKey, "alice", limit(words))
}

// backend is the rules of a backend.
func backend(id string, words ...string) []*limiter.Rule {
	var rules []*limiter.Rule
	for _, w := range words {
		rules = append(rules, limiter.NewRule(limiter.ScopeBackend, id, limit(w)))
	}
	return rules
}

// plain is a request for one answer without tokens.
func plain(rules ...*limiter.Rule) limiter.Request {
	return limiter.Request{Rules: rules, N: 1}
}

// chat is a request for one answer of at most maxOutput tokens (-1: no cap), of which rates reserve
// output.
func chat(input, output, maxOutput int64, rules ...*limiter.Rule) limiter.Request {
	return limiter.Request{Rules: rules, Input: input, Output: output, MaxOutput: maxOutput, N: 1}
}

// used is an answer that was given in full.
func used(input, output int64) limiter.Usage {
	return limiter.Usage{Dispatched: true, Input: input, Output: output}
}

func (g *gate) reserve(req limiter.Request) (limiter.Reservation, error) {
	req.ID = fmt.Sprintf("req_%d", ids.Add(1))
	return g.store.Reserve(context.Background(), req)
}

// admit fails the test where the request is refused.
func (g *gate) admit(req limiter.Request) limiter.Reservation {
	g.Helper()
	r, err := g.reserve(req)
	if err != nil {
		g.Fatalf("refused: %v", err)
	}
	return r
}

// refuse fails the test where the request is admitted.
func (g *gate) refuse(req limiter.Request) *limiter.Refusal {
	g.Helper()
	_, err := g.reserve(req)
	return g.refusal(err)
}

// refusal fails the test where err is not a Refusal.
func (g *gate) refusal(err error) *limiter.Refusal {
	g.Helper()
	var refusal *limiter.Refusal
	if !errors.As(err, &refusal) {
		g.Fatalf("got error %v, want a refusal", err)
	}
	return refusal
}

// move fails the test where the candidate has no room.
func (g *gate) move(r limiter.Reservation, candidate int) {
	g.Helper()
	if err := r.Move(context.Background(), candidate); err != nil {
		g.Fatalf("moving to candidate %d: %v", candidate, err)
	}
	if got := r.Candidate(); got != candidate {
		g.Fatalf("candidate is %d after moving to %d", got, candidate)
	}
}

// admitAll admits requests like req until one is refused, at most a thousand.
func (g *gate) admitAll(req limiter.Request) (n int, refusal *limiter.Refusal) {
	g.Helper()
	for n = range 1000 {
		_, err := g.reserve(req)
		if err != nil {
			return n, g.refusal(err)
		}
	}
	g.Fatal("a thousand requests were admitted")
	return 0, nil
}

// remaining fails the test where a rule has not as much left as wanted.
func (g *gate) remaining(rule *limiter.Rule, want int64) {
	g.Helper()
	if got := g.peek(rule).Remaining; got != want {
		g.Fatalf("%s: %d remaining, want %d", rule.Name(), got, want)
	}
}

func (g *gate) peek(rule *limiter.Rule) limiter.State {
	g.Helper()
	states, err := g.store.Peek(context.Background(), []*limiter.Rule{rule})
	if err != nil || len(states) != 1 {
		g.Fatalf("peeking at %s: %d states, error %v", rule.Name(), len(states), err)
	}
	return states[0]
}

// turn moves the clock to d after the turn of a quota's window.
func (g *gate) turn(rule *limiter.Rule, d time.Duration) {
	g.Helper()
	g.advance(g.peek(rule).Reset + d)
}

func settle(r limiter.Reservation, actual limiter.Usage) { r.Settle(context.Background(), actual) }

// equal fails the test where two values differ.
func equal[V comparable](g *gate, what string, got, want V) {
	g.Helper()
	if got != want {
		g.Fatalf("%s: got %v, want %v", what, got, want)
	}
}
