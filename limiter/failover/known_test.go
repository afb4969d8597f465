package failover

import (
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// A refusal at the end of a window, or on a gate whose clock is ahead of Redis's, is not used as the state
// of the next window.
func TestAShareOfANewWindowIsWhole(t *testing.T) {
	var known lastStates
	r := rule("a", "90 requests/day")
	today, _ := limiter.Day.Bounds(time.Now())
	known.setStates([]limiter.State{{Rule: r, Limit: 90, Remaining: 0, Since: today.AddDate(0, 0, -1)}})
	s := newLocalShare(3, &known, nil)
	defer s.memory.Close()
	for since, want := range map[time.Time]int64{today.AddDate(0, 0, -1): 30, today: 0} {
		if used, err := s.used(s.rule(r), since); err != nil || used != want {
			t.Errorf("%d of a share of 30 are used of the window of %v, want %d (%v)", used, since, want, err)
		}
	}
}
