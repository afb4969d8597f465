package failover

import (
	"context"
	"fmt"
	"testing"

	"github.com/amanycodes/pine-gate/limiter"
)

// A listing of limits creates new rules each time.
func TestListingLimitsInAnOutageKeepsNoRules(t *testing.T) {
	s := newLocalShare(2, new(lastStates), nil)
	t.Cleanup(func() { _ = s.memory.Close() })
	served := rule("served", "60 requests/minute")
	s.rule(served) // as a request has it
	for i := range 500 {
		rules := []*limiter.Rule{rule(fmt.Sprint("k", i), "60 requests/minute"), rule(fmt.Sprint("k", i), "1000 requests/month"), served}
		states, err := s.peek(context.Background(), rules)
		if err != nil {
			t.Fatal(err)
		}
		for j, want := range []int64{30, 500, 30} {
			if got := states[j]; got.Rule != rules[j] || got.Limit != rules[j].Limit.Amount || got.Remaining != want {
				t.Fatalf("%s: %+v, want %d left", rules[j].Name(), got, want)
			}
		}
	}
	if len(s.original) != 1 || len(s.scaled) != 1 || s.asked(s.rule(served)) != served {
		t.Errorf("%d rules are kept, and %d shares", len(s.original), len(s.scaled))
	}
}
