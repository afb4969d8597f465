package redis

import (
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// A refusal may be on its way while a settlement makes room. It must not be repeated afterwards.
func TestARefusalIsNotRememberedIfItsRuleWasSettledMeanwhile(t *testing.T) {
	tuning := calm()
	tuning.overLimit = time.Hour
	r, _ := single(t, tuning)
	limit := rule("a", "100 tokens/hour")
	rules := []*limiter.Rule{limit}
	held := admit(t, r, asking(100, limit))
	before := r.overLimit.settlements(rules)
	refusal := refuse(t, r, asking(50, limit))
	held.Settle(t.Context(), all)
	flushed(t, r)
	r.overLimit.add(refusal, rules, before) // as if the refusal came only now
	demand := account.NewDemand(asking(50, limit))
	if again := r.overLimit.refusal(&demand, rules); again != nil {
		t.Errorf("got %v", again)
	}
	admit(t, r, asking(50, limit))
	r.overLimit.add(refusal, rules, r.overLimit.settlements(rules))
	if r.overLimit.refusal(&demand, rules) == nil {
		t.Error("a refusal without a settlement is not remembered")
	}
}
