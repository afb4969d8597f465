// Package limitertest is the test suite that every store must pass: it tests the guarantees of
// [limiter.Limiter], and needs only a store and its clock.
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

// New returns an empty store for one test, and a function that advances the store's clock. It closes the
// store with t.Cleanup. The clock must not move otherwise, must advance with microsecond precision, and
// may start at any time. seed returns the usage of quotas; it is nil in most tests.
type New func(t *testing.T, seed limiter.Seed) (store limiter.Limiter, advance func(time.Duration))

// Run runs the suite against the stores that newStore returns.
func Run(t *testing.T, newStore New) {
	for _, group := range []struct {
		name   string
		tests  []test
		seeded bool // its stores are seeded from the gate's ledger
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

// test is the test of one behaviour.
type test struct {
	name string
	run  func(g *gate)
}

// gate is a store under test, with helpers.
type gate struct {
	*testing.T
	store   limiter.Limiter
	advance func(time.Duration)
	ledger  ledger
}

// ids makes reservation ids unique, across all tests that share a store outside of the process.
var ids atomic.Int64

// limit parses a limit in the syntax of the configuration.
func limit(words string) limiter.Limit {
	var l limiter.Limit
	if err := l.UnmarshalText([]byte(words)); err != nil {
		panic(err)
	}
	return l
}

// keyRule returns a rule of the key "alice".
func keyRule(words string) *limiter.Rule {
	return limiter.NewRule(limiter.ScopeKey, "alice", limit(words))
}

// backend returns the rules of a backend.
func backend(id string, words ...string) []*limiter.Rule {
	var rules []*limiter.Rule
	for _, w := range words {
		rules = append(rules, limiter.NewRule(limiter.ScopeBackend, id, limit(w)))
	}
	return rules
}

// plain returns a request for one answer without tokens.
func plain(rules ...*limiter.Rule) limiter.Request {
	return limiter.Request{Rules: rules, N: 1}
}

// chat returns a request for one answer of at most maxOutput tokens (-1: no cap), of which rates reserve
// output.
func chat(input, output, maxOutput int64, rules ...*limiter.Rule) limiter.Request {
	return limiter.Request{Rules: rules, Input: input, Output: output, MaxOutput: maxOutput, N: 1}
}

// used returns the usage of a complete answer.
func used(input, output int64) limiter.Usage {
	return limiter.Usage{Dispatched: true, Input: input, Output: output}
}

func (g *gate) reserve(req limiter.Request) (limiter.Reservation, error) {
	req.ID = fmt.Sprintf("req_%d", ids.Add(1))
	return g.store.Reserve(context.Background(), req)
}

// admit reserves req. It fails the test if the request is refused.
func (g *gate) admit(req limiter.Request) limiter.Reservation {
	g.Helper()
	r, err := g.reserve(req)
	if err != nil {
		g.Fatalf("refused: %v", err)
	}
	return r
}

// refuse returns the refusal of req. It fails the test if the request is admitted.
func (g *gate) refuse(req limiter.Request) *limiter.Refusal {
	g.Helper()
	_, err := g.reserve(req)
	return g.refusal(err)
}

// refusal returns err as a Refusal. It fails the test if err is another error.
func (g *gate) refusal(err error) *limiter.Refusal {
	g.Helper()
	var refusal *limiter.Refusal
	if !errors.As(err, &refusal) {
		g.Fatalf("got error %v, want a refusal", err)
	}
	return refusal
}

// move moves r. It fails the test if the candidate has no room.
func (g *gate) move(r limiter.Reservation, candidate int) {
	g.Helper()
	if err := r.Move(context.Background(), candidate); err != nil {
		g.Fatalf("moving to candidate %d: %v", candidate, err)
	}
	if got := r.Candidate(); got != candidate {
		g.Fatalf("candidate is %d after moving to %d", got, candidate)
	}
}

// admitAll reserves requests like req until one is refused, at most a thousand.
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

// remaining fails the test if what a rule has left is not want.
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

// turn advances the clock to d after the end of a quota's window.
func (g *gate) turn(rule *limiter.Rule, d time.Duration) {
	g.Helper()
	g.advance(g.peek(rule).Reset + d)
}

func settle(r limiter.Reservation, actual limiter.Usage) { r.Settle(context.Background(), actual) }

// equal fails the test if two values differ.
func equal[V comparable](g *gate, what string, got, want V) {
	g.Helper()
	if got != want {
		g.Fatalf("%s: got %v, want %v", what, got, want)
	}
}
