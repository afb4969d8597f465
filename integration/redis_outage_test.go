package integration

import (
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
)

// load sends requests to all gates, one after the other from each of some callers,
// until end is called; it counts what comes back and notes how long each took.
type load struct {
	counts
	stop    chan struct{}
	callers sync.WaitGroup
	slow    atomic.Int64 // that took longer than the budget of a call to Redis
	sent    atomic.Int64
}

func (all gates) load(t *testing.T, callers int, slow time.Duration, key, body string) *load {
	l := &load{stop: make(chan struct{})}
	for i := range callers {
		l.callers.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				start := time.Now()
				status, code, err := all[i%len(all)].attempt(key, body)
				if err != nil {
					t.Error(err)
					return
				}
				if time.Since(start) > slow {
					l.slow.Add(1)
				}
				l.sent.Add(1)
				l.add(status, code)
			}
		})
	}
	return l
}

// more waits until so many more requests were answered.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	want := l.sent.Load() + n
	eventually(t, "requests are answered", func() bool { return l.sent.Load() >= want })
}

func (l *load) end() {
	close(l.stop)
	l.callers.Wait()
}

// outageLength is how long Redis is away in TestKilledRedisUnderLoad: PINEGATE_OUTAGE,
// or three seconds.
func outageLength(t *testing.T) time.Duration {
	t.Helper()
	text, ok := os.LookupEnv("PINEGATE_OUTAGE")
	if !ok {
		return 3 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		t.Fatalf("PINEGATE_OUTAGE is %q: expected a duration", text)
	}
	return d
}

// Redis is killed under load and comes back empty: nobody sees a 5xx, and all
// gates together admit at most one burst beyond the limit, and of a quota that is
// used up nothing.
func TestKilledRedisUnderLoad(t *testing.T) {
	s := startRedis(t)
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	const limit, quota = 90, 12
	all := startGates(t, 3, s, redisStore(t, s, "replicas 3"), block(b,
		keyWith("carol", "limit 90 requests/hour", "limit 1M requests/day")+keyWith("dave", "limit 12 requests/day")))
	begun := time.Now()
	for i := range limit / 2 {
		if status, code, err := all[i%3].attempt(secretOf("carol"), chatBody("m", "x")); status != 200 {
			t.Fatalf("request %d: %d %s %v", i, status, code, err)
		}
	}
	for i := range quota {
		if status, code, err := all[i%3].attempt(secretOf("dave"), chatBody("m", "x")); status != 200 {
			t.Fatalf("request %d: %d %s %v", i, status, code, err)
		}
	}
	l := all.load(t, 6, time.Hour, secretOf("carol"), chatBody("m", "x"))
	all[0].usesUp(t, "dave")
	spent := all.load(t, 6, time.Hour, secretOf("dave"), chatBody("m", "x"))
	spent.more(t, 60) // each gate has seen that nothing is left
	s.Kill()
	all.waitForStore(t, false)
	l.more(t, 300)
	if a := all[0].do("GET", "/readyz", "", ""); a.status != 200 || a.body != "ok, but the rate-limit store is unavailable: local\n" {
		t.Errorf("readyz: %d %q", a.status, a.body)
	}
	if got := all[0].keyInfo(secretOf("carol")).limit("requests", "hour"); got.Limit != limit || got.Remaining > 2 {
		t.Errorf("the key's limit is %+v", got)
	}
	a := all[0].chat(secretOf("carol"), "m", "x")
	isRate(t, a, "requests")
	if a.header.Get("X-Ratelimit-Limit-Requests") == "" {
		t.Errorf("a refusal has headers %v", a.header)
	}
	time.Sleep(outageLength(t))
	s.Restart()
	all.waitForStore(t, true)
	l.more(t, 300)
	spent.more(t, 300)
	l.end()
	spent.end()
	l.only(t, "200", "429 rate_limit_exceeded")
	spent.only(t, "429 insufficient_quota")
	comesIn := int(time.Since(begun)*limit/time.Hour) + 3
	admitted := len(b.seen()) - quota
	if admitted > 2*limit+comesIn {
		t.Errorf("%d were admitted of %d", admitted, limit)
	}
	t.Logf("%d requests were answered, %d of them admitted: %d of the limit of %d within the hour", l.sent.Load()+spent.sent.Load(), len(b.seen()), admitted, limit)
	for _, g := range all {
		g.logsTimes(t, "rate-limit store unavailable", 1)
		g.logsTimes(t, "rate-limit store available again", 1)
		if a := g.do("GET", "/readyz", "", ""); a.status != 200 || a.body != "ok\n" {
			t.Errorf("readyz: %d %q", a.status, a.body)
		}
		if !strings.Contains(g.metrics(), `pinegate_store_errors_total{store="redis"}`) {
			t.Error("no error was counted")
		}
	}
	// What was used is the same for all of them, and each request in it once: those before the outage by the
	// seed, which gates that were away had to wait for, and those after it.
	for _, g := range all {
		if used := 1e6 - g.keyInfo(secretOf("carol")).limit("requests", "day").Remaining; used != float64(admitted) {
			t.Errorf("%v of the quota are used after %d requests", used, admitted)
		}
	}
}

// usesUp waits until what a key has used of a quota leaves nothing: until requests are settled, in the
// background, it is only reserved.
func (g *gate) usesUp(t *testing.T, key string) {
	t.Helper()
	eventually(t, "the quota of "+key+" is used up", func() bool {
		status, code, err := g.attempt(secretOf(key), chatBody("m", "x"))
		return err == nil && status == 429 && code == "insufficient_quota"
	})
}

// Redis comes back empty, and the gate learns it later for usage than for limits: what quotas have used
// can't be known yet. Nobody sees a 5xx, because limits wait for it.
func TestLimitsWaitForUsageWhenRedisIsBack(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{
		Password: redisPassword, User: "gate", UserPassword: redisPassword,
		UserRules: "~pinegate:gates ~pinegate:open ~pinegate:reservations ~pinegate:key/* +@all", // no usage
	})
	allow := func() { s.Do("acl", "setuser", "gate", "~pinegate:*") }
	allow()
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	all := startGates(t, 1, s, redisStore(t, s, "username gate"), block(b, keyWith("carol", "limit 3 requests/day")))
	all[0].usesUp(t, "carol")
	l := all.load(t, 2, time.Hour, secretOf("carol"), chatBody("m", "x"))
	l.more(t, 10)
	s.Kill()
	all.waitForStore(t, false)
	eventually(t, "usage is away", func() bool { return strings.Contains(all[0].metrics(), `pinegate_store_up{store="usage"} 0`) })
	s.Restart() // with the rules that it was started with
	eventually(t, "the gate has found Redis", func() bool { return s.Do("zcard", "pinegate:gates").(int64) == 1 })
	allow()
	all.waitForStore(t, true)
	l.more(t, 10)
	l.end()
	l.only(t, "429 insufficient_quota")
	if n := len(b.seen()); n != 3 {
		t.Errorf("%d were admitted of 3", n)
	}
}

// Redis stands still: each caller waits for its budget once, and
// what was admitted meanwhile is in Redis when it goes on.
func TestStoppedRedisUnderLoad(t *testing.T) {
	s := startRedis(t)
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	all := startGates(t, 3, s, redisStore(t, s), block(b, keyWith("carol", "limit 1M requests/day")))
	const callers = 12
	l := all.load(t, callers, storeTimeout*9/10, secretOf("carol"), chatBody("m", "x"))
	l.more(t, 100)
	s.Stop()
	all.waitForStore(t, false)
	l.more(t, 200)
	s.Cont()
	all.waitForStore(t, true)
	l.more(t, 100)
	l.end()
	l.only(t, "200")
	if n := l.slow.Load(); n > callers {
		t.Errorf("%d of %d requests were slow, of %d callers", n, l.sent.Load(), callers)
	}
	eventually(t, "all that was used is in Redis, once", func() bool {
		return 1e6-all[0].keyInfo(secretOf("carol")).limit("requests", "day").Remaining == float64(len(b.seen()))
	})
}

func TestDenyRefusesWithoutRedis(t *testing.T) {
	s := startRedis(t)
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	all := startGates(t, 1, s, redisStore(t, s, "outage deny"), block(b, "limit 100 requests/hour"))
	g := all[0]
	if a := g.chat(callerKey, "m", "x"); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	s.Kill()
	const want = `{"error":{"message":"The service is overloaded. Please try again.","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}`
	for range 2 {
		a := g.chat(callerKey, "m", "x")
		if a.status != 503 || a.header.Get("Retry-After") != "1" || strings.TrimSpace(a.body) != want {
			t.Errorf("got %d %v %s", a.status, a.header, a.body)
		}
	}
	all.waitForStore(t, false)
	if a := g.do("GET", "/readyz", "", ""); a.status != 503 {
		t.Errorf("readyz: %d", a.status)
	}
	if a := g.do("GET", "/healthz", "", ""); a.status != 200 {
		t.Errorf("healthz: %d", a.status)
	}
	if got := g.keyInfo(callerKey).limit("requests", "hour"); got.Limit != 100 || got.Remaining != 99 {
		t.Errorf("the key's limit is %+v", got)
	}
	s.Restart()
	all.waitForStore(t, true)
	eventually(t, "the gate is ready", func() bool { return g.do("GET", "/readyz", "", "").status == 200 })
	if a := g.chat(callerKey, "m", "x"); a.status != 200 || len(b.seen()) != 2 {
		t.Errorf("got %d %s after %d", a.status, a.body, len(b.seen()))
	}
	g.logsTimes(t, "rate-limit store unavailable", 1)
}

func TestAllowAdmitsWithoutRedis(t *testing.T) {
	s := startRedis(t)
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	all := startGates(t, 1, s, redisStore(t, s, "outage allow"), block(b, keyWith("carol", "limit 2 requests/day")))
	s.Stop()
	for range 4 {
		if a := all[0].chat(secretOf("carol"), "m", "x"); a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
	}
	all.waitForStore(t, false)
	s.Cont()
	all.waitForStore(t, true)
	if a := all[0].chat(secretOf("carol"), "m", "x"); a.status != 429 {
		t.Errorf("what was allowed does not count: %d %s", a.status, a.body)
	}
}
