package limiter

import (
	"testing"
	"time"
)

// A refusal that Redis made before something came back to its counter, and that arrives after it, is not
// repeated to others.
func TestARefusalIsNotRememberedPastWhatCameBack(t *testing.T) {
	rules := []*Rule{rule("alice", "10 requests/day")}
	day := hold{rule: rules[0], amount: 1}
	refusal := &Refusal{Rule: rules[0], RetryAfter: time.Hour}
	for name, back := range map[string]bool{"nothing came back": false, "something did": true} {
		d := new(denied)
		d.start(redisTuning{denied: time.Minute})
		turn := d.ask()
		if back {
			d.forget([]hold{day})
		}
		d.remember(turn, refusal, rules, []hold{day})
		if remembered := d.count.Load() > 0; remembered == back {
			t.Errorf("%s: remembered %t", name, remembered)
		}
	}
}
