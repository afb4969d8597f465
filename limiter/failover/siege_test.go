package failover_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/failover"
	"github.com/amanycodes/pine-gate/limiter/redis"
)

// burst is the burst of the callers' limit. They take it at once, so that everything admitted later is
// excess, except for the refill.
const burst = 90

// besieged are three gates under load while faults happen to their Redis.
type besieged struct {
	t     *testing.T
	gates [3]*guard
	start time.Time
	rules []*limiter.Rule // of the callers; the first is the limit of burst requests

	stop            chan struct{}
	callers         sync.WaitGroup
	admitted, asked atomic.Int64
	crossSlot       atomic.Int64
}

// besiege starts gates and callers that send requests in a loop. Each request must be admitted or refused
// by a limit; none may fail because the store is unavailable.
func besiege(t *testing.T, opts redis.ClientOptions, candidates ...[]*limiter.Rule) *besieged {
	b := &besieged{t: t, start: time.Now(), stop: make(chan struct{})}
	for i := range b.gates {
		b.gates[i] = newGuardOf(t, redis.Options{Client: dial(t, opts)}, failover.Options{Replicas: 3, OnError: func(err error) {
			if strings.Contains(err.Error(), "CROSSSLOT") {
				b.crossSlot.Add(1)
			}
		}})
	}
	limit, quota := ruleOf(t, "alice", "90 requests/hour"), ruleOf(t, "bob", "1M requests/day")
	b.rules = []*limiter.Rule{limit, quota}
	for i := range 6 {
		g, rule := b.gates[i%3], b.rules[i/3]
		b.callers.Go(func() {
			for {
				select {
				case <-b.stop:
					return
				case <-time.After(5 * time.Millisecond): // callers have something else to do
				}
				b.ask(g, rule, candidates)
			}
		})
	}
	t.Cleanup(b.end)
	return b
}

func (b *besieged) ask(g *guard, rule *limiter.Rule, candidates [][]*limiter.Rule) {
	req := limiter.Request{ID: fmt.Sprintf("request-%d", requestIDs.Add(1)), Rules: []*limiter.Rule{rule}, Candidates: candidates, N: 1}
	r, err := g.Reserve(context.Background(), req)
	b.asked.Add(1)
	switch refusal := new(limiter.Refusal); {
	case err == nil:
		if rule == b.rules[0] {
			b.admitted.Add(1)
		}
		r.Settle(context.Background(), used(1, 1))
	case !errors.As(err, &refusal):
		b.t.Errorf("a caller got: %v", err)
	}
}

// more waits until callers have made that many more requests.
func (b *besieged) more(n int64) {
	b.t.Helper()
	want := b.asked.Load() + n
	b.eventually("callers ask", func() bool { return b.asked.Load() >= want })
}

// away waits until some gate marks the store as unavailable; decides waits until none does.
func (b *besieged) away() {
	b.t.Helper()
	b.eventually("a gate is without Redis", func() bool { return b.without() > 0 })
}

func (b *besieged) decides() {
	b.t.Helper()
	b.eventually("Redis decides again", func() bool {
		for _, g := range b.gates {
			if g.redis.Ping(context.Background()) != nil {
				return false
			}
		}
		return b.without() == 0
	})
}

func (b *besieged) without() (n int) {
	for _, g := range b.gates {
		if _, away := g.Away(); away {
			n++
		}
	}
	return n
}

func (b *besieged) eventually(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("not within a minute: %s", what)
		}
	}
}

func (b *besieged) end() {
	select {
	case <-b.stop:
	default:
		close(b.stop)
	}
	b.callers.Wait()
}

// within checks that all gates together have admitted at most a burst more than the limit.
func (b *besieged) within() {
	b.t.Helper()
	b.end()
	comesIn := int64(time.Since(b.start) * burst / time.Hour)
	if n := b.admitted.Load(); n < burst || n > 2*burst+comesIn {
		b.t.Errorf("%d were admitted of %d", n, burst)
	}
	for i, g := range b.gates {
		if n := len(g.changes); n > 20 {
			b.t.Errorf("gate %d announced %d changes", i, n)
		}
	}
	if n := b.crossSlot.Load(); n > 0 {
		b.t.Errorf("%d calls were of several slots", n)
	}
}

func TestFailoverOfASentinelSetUnderLoad(t *testing.T) {
	set := redistest.Sentinel(t)
	b := besiege(t, redis.ClientOptions{URLs: set.URLs(), Sentinel: redistest.SentinelMaster})
	b.more(100)
	set.Failover() // the old master becomes READONLY
	b.more(100)
	b.decides()
	old := set.Master()
	old.Kill()
	b.away()
	set.WaitFailover(old)
	b.decides()
	b.more(100)
	b.within()
}

func TestFailoverOfAClusterUnderLoad(t *testing.T) {
	set := redistest.Cluster(t)
	const key = "{pinegate}:key/alice/requests/hour"
	limit := ruleOf(t, "x", "900k concurrent").Limit
	b := besiege(t, redis.ClientOptions{URLs: set.URLs()},
		[]*limiter.Rule{limiter.NewRule(limiter.ScopeBackend, "a", limit)})
	b.more(100)
	set.Failover(key) // the old master answers MOVED
	b.more(100)
	b.decides()
	old := set.Owner(key)
	old.Kill()
	b.away()
	set.WaitFailover(key, old)
	b.decides()
	b.more(100)

	// Nobody has the slots of a master that is dead without a replica: CLUSTERDOWN.
	last := set.Owner(key)
	last.Kill()
	b.away()
	b.more(100)
	last.Restart() // it has lost what it held
	b.decides()
	b.more(100)
	b.within()
}

// A slot is moved under load, with answers of ASK, TRYAGAIN and MOVED.
func TestASlotOfAClusterIsMovedUnderLoad(t *testing.T) {
	set := redistest.Cluster(t)
	const key = "{pinegate}:key/alice/requests/hour"
	b := besiege(t, redis.ClientOptions{URLs: set.URLs()})
	b.more(200)
	from := set.Owner(key)
	to := set.Servers[0]
	if to == from {
		to = set.Servers[1]
	}
	set.Move(key, to, func() { b.more(200) })
	b.decides()
	b.more(200)
	if owner := set.Owner(key); owner != to {
		t.Errorf("the slot is at %s", owner.Addr())
	}
	b.within()
}
