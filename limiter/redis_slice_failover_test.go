package limiter_test

import (
	"context"
	"testing"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
)

// The node of a hot key changes while it is spent in slices: no caller is told, what was admitted is counted, and
// the key is hot again.
func TestHotKeysOutlastAClusterThatChanges(t *testing.T) {
	const team = "pinegate:{team/crew}:"
	set := redistest.Cluster(t)
	g := newGuardOf(t, limiter.RedisOptions{URLs: set.URLs()}, limiter.GuardedOptions{})
	month, rate, places := ruleOf(t, "hot", "1G tokens/month"), ruleOf(t, "hot", "1G requests/minute"), ruleOf(t, "hot", "1000 concurrent")
	for _, rule := range []*limiter.Rule{month, rate, places} {
		rule.Team = "crew"
	}
	l := loaded([]*guard{g}, func() {}, month, rate, places)
	l.hot(t, 300)
	to := set.Servers[0] // the first three are masters
	if to == set.Owner(team) {
		to = set.Servers[1]
	}
	set.Move(team, to, func() {})
	l.hot(t, 300)
	set.Failover(team)
	l.hot(t, 300)
	b := besieged{t: t, gates: [3]*guard{g, g, g}}
	b.decides()
	admitted := l.end()
	if err := g.redis.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	states, err := g.Peek(context.Background(), []*limiter.Rule{month})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d admitted, %d from slices, %d used", admitted, l.sliced.Load(), states[0].Used)
	if used := states[0].Used; used < admitted*95/100 || used > admitted*105/100 {
		t.Errorf("%d were used, want %d", used, admitted)
	}
	b.eventually("places are free", func() bool {
		states, err := g.Peek(context.Background(), []*limiter.Rule{places})
		return err == nil && states[0].Remaining == 1000
	})
}
