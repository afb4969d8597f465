package integration

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/amanycodes/pine-gate/internal/redistest"
)

// durableRedis loses nothing when it is killed.
func durableRedis(t *testing.T) *redistest.Server {
	t.Helper()
	return redistest.Standalone(t, redistest.Options{Password: redisPassword, Config: []string{"appendonly yes", "appendfsync always"}})
}

// waitForUsage waits until the metrics of each gate have the usage that they share
// there, or away.
func (all gates) waitForUsage(t *testing.T, up int) {
	t.Helper()
	for i, g := range all {
		want := fmt.Sprintf(`pinegate_store_up{store="usage"} %d`, up)
		eventually(t, fmt.Sprintf("gate %d has %s", i, want), func() bool { return strings.Contains(g.metrics(), want) })
	}
}

// waitForRequests waits until all gates report so many requests of a key.
func (all gates) waitForRequests(t *testing.T, key string, want int) {
	t.Helper()
	for i, g := range all {
		eventually(t, fmt.Sprintf("gate %d reports %d requests", i, want), func() bool {
			a := g.do("GET", "/v1/usage?keys[]="+key, adminKey, "")
			return a.status == 200 && g.usageOf(key).Requests == want
		})
	}
}

// Two gates report the same usage, each request once: when one of them is killed
// and started again, when Redis is, and when a gate was started while Redis is
// away.
func TestTwoGatesReportTheSameUsage(t *testing.T) {
	s := durableRedis(t)
	b := newBackend(t, answers(200, chatAnswer("ok", 7, 2)))
	global, sites := redisStore(t, s), block(b, "model * {\nprice input 1 output 2\n}")
	all := startGates(t, 2, s, global, sites)
	ask := func(n int) {
		t.Helper()
		var callers sync.WaitGroup
		for i := range n {
			callers.Go(func() {
				if a := all[i%2].chat(callerKey, "m", "x"); a.status != 200 {
					t.Errorf("got %d %s", a.status, a.body)
				}
			})
		}
		callers.Wait()
	}
	ask(20)
	all.waitForRequests(t, "alice", 20)

	ask(10)
	all[0].Stop(syscall.SIGKILL)
	all[0] = all[0].again(global, sites)
	ask(10)
	all.waitForRequests(t, "alice", 40)

	s.Kill()
	ask(10)
	all.waitForUsage(t, 0)
	for _, g := range all {
		a := g.do("GET", "/v1/usage", adminKey, "")
		if a.status != 503 || !strings.Contains(a.body, "the store that the gates share does not answer") || a.header.Get("Retry-After") == "" {
			t.Errorf("usage without Redis: %d %s", a.status, a.body)
		}
		if a := g.do("GET", "/v1/key", callerKey, ""); a.status != 200 || !strings.Contains(a.body, `"usage":null`) {
			t.Errorf("key without Redis: %d %s", a.status, a.body)
		}
	}
	all[1].Stop(syscall.SIGKILL)
	all[1] = all[1].again(global, sites)
	ask(10)
	s.Restart()
	all.waitForUsage(t, 1)
	ask(10)
	all.waitForRequests(t, "alice", 70)
	if got, want := all[1].usageOf("alice"), (result{Requests: 70, Input: 490, Output: 140}); got != want {
		t.Errorf("usage %+v, want %+v", got, want)
	}
	for _, g := range all {
		if a := g.do("GET", "/v1/key", callerKey, ""); !strings.Contains(a.body, `"month":{"requests":70,`) {
			t.Errorf("the key is answered %s", a.body)
		}
		out, errOut, code := pinegate(t, "usage", "--address", g.admin, "--group-by", "key")
		if code != 0 || !strings.Contains(out, "alice        70       0    490") {
			t.Errorf("exit status %d\n%s%s", code, out, errOut)
		}
	}
	all[0].logsTimes(t, "shared usage store unavailable: this gate keeps what it records, and does not know what other gates record", 1)
	all[0].logsTimes(t, "shared usage store available again", 1)

	// A new gate, and one that has ended, make no difference.
	all[0].Stop(syscall.SIGTERM)
	late := gates{newGate(t), all[1]}
	late[0].start(late[0].caddyfile(global, sites))
	late.waitForRequests(t, "alice", 70)
	// Nor does a reload that changes how Redis is reached.
	if status := late[0].reload(late[0].caddyfile(strings.Replace(global, "timeout", "outage deny\ntimeout", 1), sites)); status != 200 {
		t.Fatalf("reload: %d", status)
	}
	late.waitForRequests(t, "alice", 70)
}

// Quotas are rebuilt after FLUSHALL from what all gates hold.
func TestQuotasAreRebuiltFromAllGates(t *testing.T) {
	s := startRedis(t)
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	all := startGates(t, 3, s, redisStore(t, s), block(b, keyWith("carol", "limit 100 requests/day", "limit 1M tokens/month")))
	for i := range 30 {
		if a := all[i%3].chat(secretOf("carol"), "m", "x"); a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
	}
	all.waitForRequests(t, "carol", 30)
	s.Flush()
	if a := all[1].chat(secretOf("carol"), "m", "x"); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	for i, g := range all {
		eventually(t, fmt.Sprintf("gate %d reports what is left", i), func() bool {
			info := g.keyInfo(secretOf("carol"))
			return info.limit("requests", "day").Remaining == 69 && info.limit("tokens", "month").Remaining == 1e6-62
		})
	}
	all.waitForRequests(t, "carol", 31)
}
