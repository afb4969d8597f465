package limiter

import (
	"context"
	"errors"
	"testing"
)

// unitTests has a row for each unit: what a request takes of it that has 100 tokens of input for
// 7,000 nano-USD and a cap of 20 tokens of output at 500 nano-USD each, and what it is charged when 60
// and 5 tokens for 1,234 nano-USD were used, and when the backend failed.
var unitTests = map[Unit]struct {
	window                Window
	need, charged, failed int64
}{
	Requests:     {Day, 1, 1, 1},
	Tokens:       {Day, 120, 65, 0},
	InputTokens:  {Day, 100, 60, 0},
	OutputTokens: {Day, 20, 5, 0},
	USD:          {Day, 17_000, 1_234, 0},
	Concurrent:   {NoWindow, 1, 0, 0},
}

func unitRequest(rule *Rule) Request {
	return Request{Rules: []*Rule{rule}, Input: 100, Output: 20, MaxOutput: 20, Uncapped: true, N: 1, InputCost: 7000, OutputPrice: 500_000}
}

// unitStores are the stores whose arithmetic must know each unit.
func unitStores(t *testing.T) map[string]Limiter {
	m := NewMemory(MemoryOptions{Sweep: -1})
	t.Cleanup(func() { _ = m.Close() })
	r, _ := single(t, calm())
	return map[string]Limiter{"memory": m, "Redis": r}
}

func TestEachUnitIsCounted(t *testing.T) {
	for where, store := range unitStores(t) {
		for _, unit := range Units() {
			row, ok := unitTests[unit]
			if !ok || unit.String() == "" {
				t.Fatalf("unit %d %q has no row in units, or none in this test", unit, unit)
			}
			limit := Limit{Unit: unit, Window: row.window, Amount: 1_000_000}
			taken := func(rule *Rule) int64 {
				t.Helper()
				if r, ok := store.(*Redis); ok {
					flushed(t, r)
				}
				all, err := store.Peek(context.Background(), []*Rule{rule})
				if err != nil {
					t.Fatal(err)
				}
				return all[0].Limit - all[0].Remaining
			}
			for used, want := range map[Actual]int64{
				{}: 0,
				{Dispatched: true, Failed: true, Input: 60, Output: 5, Cost: 1234}: row.failed,
				{Dispatched: true, Input: 60, Output: 5, Cost: 1234}:               row.charged,
			} {
				rule := NewRule(ScopeKey, "used/"+string(rune('0'+want%10)), limit)
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
			_, err := store.Reserve(context.Background(), unitRequest(NewRule(ScopeKey, "full", limit)))
			if refusal := new(Refusal); !errors.As(err, &refusal) || refusal.Requested != row.need {
				t.Errorf("%s, %s: a request over the limit: %v", where, unit, err)
			}
		}
	}
}

// What the package does not know, as a unit that a newer gate has put into a store, must not be free.
func TestAnUnknownUnitIsRefused(t *testing.T) {
	for where, store := range unitStores(t) {
		for _, window := range []Window{NoWindow, Minute, Day} {
			limit := Limit{Unit: Unit(len(units)), Window: window, Amount: MaxAmount}
			if limit.Validate() == nil {
				t.Errorf("%s is a valid limit", limit)
			}
			rule := &Rule{Limit: limit, name: "unknown/" + window.String()}
			_, err := store.Reserve(context.Background(), unitRequest(rule))
			if refusal := new(Refusal); !errors.As(err, &refusal) || !refusal.TooLarge {
				t.Errorf("%s: a request under a limit of an unknown unit per %q: %v", where, window, err)
			}
		}
	}
}
