//go:build unix

package store

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/failover"
)

// patience is how long a test waits for an event on a machine that others use too.
const patience = time.Minute

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// sharedStore returns the store of a configuration of a Redis.
func sharedStore(t *testing.T, s *redistest.Server, dir string, change func(*config.Redis)) *Store {
	t.Helper()
	m, err := metrics.For(prometheus.NewRegistry(), false)
	if err != nil {
		t.Fatal(err)
	}
	rc := &config.Redis{URLs: []string{s.URL}, Timeout: caddy.Duration(10 * time.Second)}
	if change != nil {
		change(rc)
	}
	st, err := For(&Config{Store: &config.Store{Type: config.KindRedis, Dir: dir, Redis: rc}, Metrics: m, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// start starts a store as a configuration with runtime keys does.
func start(t *testing.T, st *Store) {
	t.Helper()
	if err := st.Start(); err != nil {
		t.Fatal(err)
	}
	st.Registry().Start()
}

// end ends a configuration.
func end(st *Store) {
	st.Stop()
	st.Drop()
}

var clientID = regexp.MustCompile(`(?m)^id=(\d+) .* cmd=(\S+)`)

// connections returns the ids of the connections to a Redis, but for the test's own.
func connections(s *redistest.Server) (ids []string) {
	for _, c := range clientID.FindAllStringSubmatch(s.Do("client", "list").(string), -1) {
		if !strings.HasPrefix(c[2], "client") {
			ids = append(ids, c[1])
		}
	}
	return ids
}

// closed reports whether none of the connections is open.
func closed(s *redistest.Server, ids []string) bool {
	open := connections(s)
	return !slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(open, id) })
}

func ruleOf(t *testing.T, words string) *limiter.Rule {
	t.Helper()
	l, err := limiter.ParseLimit(strings.Fields(words))
	if err != nil {
		t.Fatal(err)
	}
	return limiter.NewRule(limiter.ScopeKey, "alice", l)
}

// reserve makes a reservation of a request, and returns how to settle it.
func reserve(t *testing.T, st *Store, id string, rule *limiter.Rule) (settle func()) {
	t.Helper()
	res, err := st.Shared().Limiter().Reserve(t.Context(), limiter.Request{ID: id, Rules: []*limiter.Rule{rule}, N: 1})
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	return func() { res.Settle(t.Context(), limiter.Usage{Dispatched: true}) }
}

// left waits until so much is left of a limit in Redis.
func left(t *testing.T, st *Store, rule *limiter.Rule, want int64) {
	t.Helper()
	var got int64
	eventually(t, "the rest of the limit is right", func() bool {
		all, err := st.Shared().Limiter().Peek(t.Context(), []*limiter.Rule{rule})
		if err != nil {
			t.Fatal(err)
		}
		got = all[0].Remaining
		return got == want
	})
}

func TestAReloadKeepsItsConnectionsToRedis(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	dir, rule := t.TempDir(), ruleOf(t, "10 requests/day")
	first := sharedStore(t, s, dir, nil)
	if len(connections(s)) > 0 {
		t.Error("a configuration that does not run has connections")
	}
	start(t, first)
	reserve(t, first, "one", rule)()
	before := connections(s)

	second := sharedStore(t, s, dir, nil)
	start(t, second)
	end(first)
	defer end(second)
	if first.Shared() != second.Shared() || first.Registry() != second.Registry() {
		t.Error("a reload that changes nothing opens another store")
	}
	reserve(t, second, "two", rule)()
	left(t, second, rule, 8)
	if after := connections(s); slices.ContainsFunc(before, func(id string) bool { return !slices.Contains(after, id) }) {
		t.Errorf("of the connections %v, there are %v", before, after)
	}
}

func TestARedisThatIsLeftIsClosedAfterItsLastRequest(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	dir, rule := t.TempDir(), ruleOf(t, "10 concurrent")
	first := sharedStore(t, s, dir, nil)
	start(t, first)
	first.Shared().Acquire()
	settle := reserve(t, first, "one", rule)
	before := connections(s)
	if len(before) == 0 {
		t.Fatal("no connections")
	}

	second := sharedStore(t, s, dir, func(rc *config.Redis) { rc.Outage = "deny" })
	start(t, second)
	end(first)
	if closed(s, before) {
		t.Error("the connections of a request in flight are closed")
	}
	left(t, second, rule, 9)
	settle()
	left(t, second, rule, 10)
	first.Shared().Release()
	eventually(t, "the previous connections are closed", func() bool { return closed(s, before) })

	// All parts of the new one work, and it is one gate.
	shared := second.shared
	if err := second.local.replica().Deliver(t.Context()); err != nil {
		t.Errorf("usage: %v", err)
	}
	if _, _, err := shared.registry.CreateKey(t.Context(), "test", "alice", "live", registry.KeySpec{}); err != nil {
		t.Errorf("keys: %v", err)
	}
	if _, ok, err := shared.Responses().Find(t.Context(), "unknown", "alice"); ok || err != nil {
		t.Errorf("responses: %t, %v", ok, err)
	}
	l := shared.Limiter().(*failover.Limiter)
	eventually(t, "there is one gate", func() bool { return l.Gates() == 1 })
	end(second)
	eventually(t, "all connections are closed", func() bool { return len(connections(s)) == 0 })
}

func TestAReloadThatFailsLeavesUsageWhereItWas(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	dir := t.TempDir()
	first := sharedStore(t, s, dir, nil)
	start(t, first)
	defer end(first)
	failed := sharedStore(t, s, dir, func(rc *config.Redis) { rc.Prefix = "other" })
	start(t, failed)
	if first.local.sharing != failed.shared {
		t.Error("usage is shared in the previous Redis")
	}
	end(failed)
	if first.local.sharing != first.shared {
		t.Error("usage is shared in the Redis of a configuration that failed")
	}
	if err := first.local.replica().Deliver(t.Context()); err != nil {
		t.Error(err)
	}
	if n := len(first.local.redises); n != 1 {
		t.Errorf("%d connections, want one", n)
	}
}

func TestAStoreThatIsLeftForAnotherKindDeliversItsUsage(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	dir := t.TempDir()
	first := sharedStore(t, s, dir, nil)
	start(t, first)
	m, _ := metrics.For(prometheus.NewRegistry(), false)
	second, err := For(&Config{Store: &config.Store{Dir: dir}, Metrics: m, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	defer end(second)
	end(first)
	if second.local.replica() != nil || second.local.sharing != nil {
		t.Error("a file is shared")
	}
	eventually(t, "all connections are closed", func() bool { return len(connections(s)) == 0 })
}

// Calls to usage and keys are few, but each may be slow: admissions have
// connections left.
func TestSlowCallsDoNotDelayAdmissions(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	st := sharedStore(t, s, t.TempDir(), nil)
	start(t, st)
	defer end(st)
	const slow = 8
	for range slow {
		go st.shared.connect().client.BLPop(t.Context(), patience, "nothing")
	}
	waiting := func() bool {
		return strings.Contains(s.Do("info", "clients").(string), fmt.Sprintf("blocked_clients:%d\r", slow))
	}
	eventually(t, "the slow calls wait", waiting)
	rule := ruleOf(t, "10 requests/day")
	reserve(t, st, "one", rule)()
	if !waiting() || !st.Shared().Limiter().(*failover.Limiter).Decides() {
		t.Error("an admission waits for slow calls")
	}
}
