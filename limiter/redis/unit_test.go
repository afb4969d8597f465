package redis

import (
	"context"
	"errors"
	"testing"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/memory"
)

// unitTests has a row for each unit: what a request takes of it that has 100 tokens of input for
// 7,000 nano-USD and a cap of 20 tokens of output at 500 nano-USD each, and what it is charged when 60
// and 5 tokens for 1,234 nano-USD were used, and when the backend failed.
var unitTests = map[limiter.Unit]struct {
	window                limiter.Window
	need, charged, failed int64
}{
	limiter.Requests:     {limiter.Day, 1, 1, 1},
	limiter.Tokens:       {limiter.Day, 120, 65, 0},
	limiter.InputTokens:  {limiter.Day, 100, 60, 0},
	limiter.OutputTokens: {limiter.Day, 20, 5, 0},
	limiter.USD:          {limiter.Day, 17_000, 1_234, 0},
	limiter.Concurrent:   {limiter.NoWindow, 1, 0, 0},
}

func unitRequest(rule *limiter.Rule) limiter.Request {
	return limiter.Request{Rules: []*limiter.Rule{rule}, Input: 100, Output: 20, MaxOutput: 20, Uncapped: true, N: 1, InputCost: 7000, OutputPrice: 500_000}
}

// unitStores are the stores whose arithmetic must support each unit.
func unitStores(t *testing.T) map[string]limiter.Limiter {
	m := memory.New(memory.Options{Sweep: -1})
	t.Cleanup(func() { _ = m.Close() })
	r, _ := single(t, calm())
	return map[string]limiter.Limiter{"memory": m, "Redis": r}
}

func TestEachUnitIsCounted(t *testing.T) {
	for where, store := range unitStores(t) {
		for _, unit := range limiter.Units() {
			row, ok := unitTests[unit]
			if !ok || unit.String() == "" {
				t.Fatalf("unit %d %q has no row in units, or none in this test", unit, unit)
			}
			limit := limiter.Limit{Unit: unit, Window: row.window, Amount: 1_000_000}
			taken := func(rule *limiter.Rule) int64 {
				t.Helper()
				if r, ok := store.(*Store); ok {
					flushed(t, r)
				}
				all, err := store.Peek(context.Background(), []*limiter.Rule{rule})
				if err != nil {
					t.Fatal(err)
				}
				return all[0].Limit - all[0].Remaining
			}
			for used, want := range map[limiter.Usage]int64{
				{}: 0,
				{Dispatched: true, Failed: true, Input: 60, Output: 5, Cost: 1234}: row.failed,
				{Dispatched: true, Input: 60, Output: 5, Cost: 1234}:               row.charged,
			} {
				rule := limiter.NewRule(limiter.ScopeKey, "used/"+string(rune('0'+want%10)), limit)
				before := taken(rule)
				res, err := store.Reserve(context.Background(), unitRequest(rule))
				if err != nil {
					t.Fatalf("%s, %s: %v", where, unit, err)
				}
				if got := taken(rule) - before; got != row.need {
					t.Errorf("%s, %s: a request takes %d, want %d", where, unit, got, row.need)
				}
				res.Settle(context.Background(), used)
				if got := taken(rule) - before; got != want {
					t.Errorf("%s, %s: %+v is charged %d, want %d", where, unit, used, got, want)
				}
			}
			if limit.Amount = row.need - 1; limit.Amount == 0 {
				continue
			}
			_, err := store.Reserve(context.Background(), unitRequest(limiter.NewRule(limiter.ScopeKey, "full", limit)))
			if refusal := new(limiter.Refusal); !errors.As(err, &refusal) || refusal.Requested != row.need {
				t.Errorf("%s, %s: a request over the limit: %v", where, unit, err)
			}
		}
	}
}

// An unknown unit, such as one that a newer gate has stored, must not be free.
func TestAnUnknownUnitIsRefused(t *testing.T) {
	for where, store := range unitStores(t) {
		for _, window := range []limiter.Window{limiter.NoWindow, limiter.Minute, limiter.Day} {
			limit := limiter.Limit{Unit: limiter.Unit(len(limiter.Units())), Window: window, Amount: limiter.MaxAmount}
			if limit.Validate() == nil {
				t.Errorf("%s is a valid limit", limit)
			}
			rule := &limiter.Rule{Limit: limit}
			_, err := store.Reserve(context.Background(), unitRequest(rule))
			if refusal := new(limiter.Refusal); !errors.As(err, &refusal) || !refusal.TooLarge {
				t.Errorf("%s: a request under a limit of an unknown unit per %q: %v", where, window, err)
			}
		}
	}
}
