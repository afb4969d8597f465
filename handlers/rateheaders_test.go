package handlers

import (
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
)

// A retry at the reset time in the headers must not come too early.
func TestLimitsAreResetNoEarlierThanTold(t *testing.T) {
	day := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	asked := time.Date(2026, 11, 30, 21, 3, 22, 400_000_000, time.UTC)
	looked := asked.Add(3 * time.Millisecond) // when the limiter read its clock
	for words, c := range map[string]struct {
		state limiter.State
		want  string
	}{
		"10 requests/day":    {limiter.State{Since: day, Reset: day.AddDate(0, 0, 1).Sub(looked)}, "2026-12-01T00:00:00Z"},
		"10 requests/minute": {limiter.State{Reset: 1700 * time.Millisecond}, "2026-11-30T21:03:25Z"},
		"60 requests/minute": {limiter.State{Reset: 1600 * time.Millisecond}, "2026-11-30T21:03:24Z"},
	} {
		var l limiter.Limit
		if err := l.UnmarshalText([]byte(words)); err != nil {
			t.Fatal(err)
		}
		c.state.Rule = limiter.NewRule(limiter.ScopeKey, "alice", l)
		if got := newLimitInfo(c.state, asked).ResetAt.Format(time.RFC3339Nano); got != c.want {
			t.Errorf("%s: reset_at is %s, want %s", words, got, c.want)
		}
		if got := wire.Anthropic.FormatReset(c.state.Reset, c.state.ResetAt(asked)); got != c.want {
			t.Errorf("%s: the header says %s, want %s", words, got, c.want)
		}
	}
}
